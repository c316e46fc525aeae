"""gpt-oss's messages to tools."""

import pytest

from llm_transforms.parsing import HarmonyToolCalls

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


@pytest.mark.parametrize("name", ["functions.python", "functions.execute_python", "python"])
def test_a_message_of_json_holds_the_program_as_an_argument(name: str) -> None:
    text = (
        f'<|start|>assistant<|channel|>commentary to={name} <|constrain|>json<|message|>{{"code":'
    )
    assert [block.code for block in HARMONY.parse(f'{THOUGHT}{text} "1"}}<|call|>')] == ["1"]


@pytest.mark.parametrize(
    "text",
    [
        THOUGHT,
        "<|start|>assistant<|channel|>final<|message|>2 + 2 = 4, to=python.<|return|>",
        "<|start|>python to=assistant<|channel|>commentary<|message|>4<|end|>",
        "No head to=python<|message|>1",
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
