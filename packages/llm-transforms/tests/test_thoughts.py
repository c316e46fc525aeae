"""What is written in a thought is run if it is whole, and left alone otherwise."""

# ruff: noqa: RUF001 - DeepSeek's special tokens have full-width bars

import pytest

from llm_transforms.parsing import CODE_FORMATS, TextFormat, code_format
from llm_transforms.parsing.thoughts import Thoughts

# What a model says of a format, in the words of the template, or begins and drops.
MENTIONS = {
    "hermes": [
        'I write <tool_call> {"name": <function-name>, "arguments": <args>} </tool_call>.',
        '<tool_call>\n{"name": <function-name>, "arguments": <args>}\n</tool_call>',
        'I write <tool_call> {"name": "python", ...',
        "I must use\n<tool_call>\nwith JSON.",
        '<tool_call>\n{"name": "python", "arguments": {"code": "',
    ],
    "qwen3_coder": [
        "<tool_call>\n<function=example_function_name>\n<parameter=p>\nvalue_1\n</parameter>\n",
        "I use <function=python> and <parameter=code> then",
        "<tool_call>\n<function=python>\n<parameter=code>\nprint(0)",
    ],
    "seed": ["<seed:tool_call>\n<function=python>\n<parameter=code>print(0)"],
    "minimax": [
        '<minimax:tool_call>\n<invoke name="tool-name-1">\n</invoke>\n</minimax:tool_call>',
        '<minimax:tool_call>\n<invoke name="python">\n<parameter name="code">print(0)',
    ],
    "glm": [
        "<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n</tool_call>",
        "<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>print(0)",
    ],
    "kimi": ["I begin with <|tool_call_begin|> then"],
    "deepseek": ["I begin with <｜tool▁call▁begin｜> then"],
    "llama3": ["I begin with <|python_tag|> then"],
    "python_tags": ["<python> is the tag.", "I start with\n<python>\nand go on"],
    "code_tags": ["<code> is the tag.", "I start with\n<code>\nand go on"],
    "markdown": ["I open\n```python\nand go on"],
}
CASES = [(name, mention) for name, mentions in MENTIONS.items() for mention in mentions]


def read(text: str, choice: str) -> list[tuple[str, bool]]:
    blocks = code_format(choice).blocks({"role": "assistant", "content": text})
    return [(block.code, block.problem is None) for block in blocks]


def right(name: str, code: str = "print(1)") -> str:
    format_ = code_format(name)
    assert isinstance(format_, TextFormat)
    return format_.render(code)


# Chat templates that begin the reply with the thought have its opening tag in the prompt.
@pytest.mark.parametrize("opening", ["<think>\n", ""])
@pytest.mark.parametrize(("name", "mention"), CASES)
def test_a_call_that_is_spoken_of_in_a_thought_is_left_alone(
    name: str, mention: str, opening: str
) -> None:
    # Without the opening tag, `</think>` with words behind it may be anything.
    for end in ("\n</think>\n\n", "</think>")[: 2 if opening else 1]:
        thought = f"{opening}Hm.\n{mention}{end}"
        for choice in (name, "auto"):
            assert read(f"{thought}{right(name)}", choice) == [("print(1)", True)]
            assert read(f"{thought}I need no program.", choice) == []


@pytest.mark.parametrize("name", sorted(CODE_FORMATS.keys() - {"auto", "openai", "harmony"}))
def test_a_call_that_is_whole_is_run_in_a_thought_too(name: str) -> None:
    text = f"<think>\nHm.\n\n{right(name)}\n</think>\n\n{right(name, 'print(2)')}"
    assert read(text, name) == read(text, "auto") == [("print(1)", True), ("print(2)", True)]


@pytest.mark.parametrize(
    "name", ["hermes", "qwen3_coder", "seed", "minimax", "glm", "kimi", "deepseek"]
)
def test_a_malformed_call_is_told_while_the_thought_goes_on_and_behind_it(name: str) -> None:
    call = right(name).replace("code", "x")
    for before in ("<think>\n", "<think>\nHm.\n</think>\n", "Hm.\n</think>\n"):
        assert [whole for _, whole in read(f"{before}{call}", name)] == [False]


@pytest.mark.parametrize("name", ["hermes", "qwen3_coder", "python_tags", "markdown"])
@pytest.mark.parametrize("code", ["t.split('</think>')", 's = """<think>\nHm.\n</think>\n"""'])
def test_a_program_may_hold_the_tags_of_a_thought(name: str, code: str) -> None:
    for before in ("", "<think>\nHm.\n</think>\n\n"):
        assert read(f"{before}{right(name, code)}", name) == [(code, True)]


def test_a_thought_reaches_from_its_opening_tag_or_the_start_to_its_end() -> None:
    def spans(text: str) -> list[str]:
        thoughts = Thoughts(text)
        ends = [thoughts.end_of(index) for index in range(len(text))]
        return sorted({text[ends.index(end) : end] for end in ends if end is not None})

    assert spans("a\n</think>\nb") == ["a\n"]
    assert spans("a<think>b</think>c<think>d</think>\n") == ["<think>b", "<think>d"]
    assert spans("<think>the <think> tag</think>c</think>\n") == ["<think>the <think> tag"]
    assert spans("<seed:think>a</seed:think>") == ["<seed:think>a"]
    assert spans("a `</think>` b '<think>' c") == spans("a </think> b") == spans("<think>a") == []
