"""gpt-oss's messages to tools."""

import pytest

from llm_transforms.parsing import HarmonyToolCalls, code_format

HARMONY = HarmonyToolCalls()
THOUGHT = "<|channel|>analysis<|message|>I use to=python.<|end|>"


@pytest.mark.parametrize(
    "head",
    [
        "<|start|>assistant<|channel|>analysis to=python code<|message|>",
        "<|start|>assistant<|channel|>commentary to=python <|constrain|>code<|message|>",
        "<|start|>assistant to=python<|channel|>analysis<|message|>",
        "<|start|>assistant<|channel|>commentary to=functions.python code<|message|>",
    ],
)
@pytest.mark.parametrize("end", ["<|call|>", "<|end|>", ""])
def test_a_message_to_python_is_a_program(head: str, end: str) -> None:
    for text in (f"{head}a = 1\nb{end}", f"{THOUGHT}{head}a = 1\nb{end}"):
        (block,) = HARMONY.parse(text)
        assert (block.code, block.problem, block.tool) == ("a = 1\nb", None, "python")
        assert text[block.start : block.end] == f"{head}a = 1\nb{end}"


def test_the_first_message_has_no_role_as_the_prompt_has_it() -> None:
    for text in (
        "<|channel|>analysis to=python code<|message|>1<|call|>",
        " to=python<|channel|>analysis<|message|>1<|call|>",
    ):
        assert [block.code for block in HARMONY.parse(text)] == ["1"]


@pytest.mark.parametrize("recipient", ["user", "assistant", "all"])
def test_a_message_to_somebody_in_the_chat_is_no_call(recipient: str) -> None:
    text = f"<|start|>assistant<|channel|>final to={recipient}<|message|>It is 42.<|end|>"
    assert HARMONY.parse(text) == []


@pytest.mark.parametrize("name", ["functions.python", "functions.execute_python", "python"])
def test_a_message_of_json_holds_the_program_as_an_argument(name: str) -> None:
    text = (
        f'<|start|>assistant<|channel|>commentary to={name} <|constrain|>json<|message|>{{"code":'
    )
    assert [block.code for block in HARMONY.parse(f'{THOUGHT}{text} "1"}}<|call|>')] == ["1"]


@pytest.mark.parametrize("choice", ["harmony", "auto"])
@pytest.mark.parametrize("before", ["", THOUGHT, "<|channel|>analysis<|message|>Hm, to=python."])
@pytest.mark.parametrize(
    "head",
    [
        "<|channel|>commentary json to=functions.python",
        "<|channel|>commentary to=functions.python code<|constrain|>json",
        (
            "<|start|>assistant<|channel|>commentary to=functions.python<|channel|>commentary"
            "<|constrain|>json"
        ),
        "<|start|>assistant<|channel|>commentary<|constrain|>json to=functions.python",
        "<|channel|>commentary to= functions.python json;",
        "<|start|>assistantto=functions.python<|channel|>commentary json",
    ],
)
def test_the_parts_of_a_head_may_stand_in_any_order(head: str, before: str, choice: str) -> None:
    text = f'{before}{head}<|message|>{{"code": "print(1)"}}<|call|>'
    (block,) = code_format(choice).blocks({"role": "assistant", "content": text})
    assert (block.code, block.problem, block.tool) == ("print(1)", None, "python")
    assert text[block.start : block.end] == text[len(before) :]


@pytest.mark.parametrize("type_", [" <|constrain|>python", " python", " json<|constrain|>python"])
def test_a_function_gets_a_program_if_the_message_says_so(type_: str) -> None:
    head = f"<|channel|>commentary to=functions.python{type_}<|message|>"
    for content in ("print(1)", '{"code": "print(1)"}'):
        (block,) = HARMONY.parse(f"{head}{content}<|call|>")
        assert (block.code, block.problem) == ("print(1)", None)
    (block,) = HARMONY.parse(f'{head}{{"code": "print("hi")"}}<|call|>')
    assert "The arguments are no JSON" in str(block.problem)


@pytest.mark.parametrize(
    "text",
    [
        THOUGHT,
        "<|start|>assistant<|channel|>final<|message|>2 + 2 = 4, to=python.<|return|>",
        "<|start|>python to=assistant<|channel|>commentary<|message|>4<|end|>",
        "No head to=python<|message|>1",
        "to=python is the head.\n<|channel|>analysis<|message|>1",
        "<|start|>user to=python<|channel|>commentary<|message|>1",
        "<|channel|>analysis<|message|>to=python.<|end|><|channel|>final<|message|>4<|return|>",
        "<|channel|>analysis to=python<|end|><|channel|>final<|message|>4<|return|>",
    ],
)
def test_other_messages_are_none_of_ours(text: str) -> None:
    assert HARMONY.parse(text) == []


def test_what_is_malformed_is_told_with_a_right_call() -> None:
    head = "<|start|>assistant<|channel|>commentary to="
    for name, content, told in (
        (
            "functions.python",
            "print(1)",
            "The arguments are no JSON: a value is expected at 'print",
        ),
        ("functions.python", '{"x": "1"}', 'The program must be the argument "code"; given: x.'),
        ("browser.search", '{"query": "x"}', "There is no tool 'browser.search'; there: python, "),
    ):
        (block,) = HARMONY.parse(f"{head}{name}<|message|>{content}<|call|>")
        right = str(block.problem).partition("A right call:\n")[2]
        assert told in str(block.problem)
        assert [each.code for each in HARMONY.parse(right)] == ["print(1)"]


def test_a_program_with_special_tokens_is_written_as_json() -> None:
    code = "print('<|call|>')"
    assert "<|constrain|>json" in HARMONY.render(code)
    assert [block.code for block in HARMONY.parse(HARMONY.render(code))] == [code]
