"""Tool calls whose arguments stand between tags: Qwen3-Coder, Seed-OSS, MiniMax M2, GLM."""

import pytest

from llm_transforms import InvalidArgumentError
from llm_transforms.parsing import (
    GLMToolCalls,
    MiniMaxToolCalls,
    Qwen3CoderToolCalls,
    SeedToolCalls,
    ToolCallFormat,
)

QWEN = Qwen3CoderToolCalls()


def codes(text: str, format_: ToolCallFormat = QWEN) -> list[str]:
    blocks = format_.parse(text)
    assert [block.problem for block in blocks] == [None] * len(blocks)
    return [block.code for block in blocks]


TWO = {
    QWEN: "<tool_call>\n<function=python>\n<parameter=code>\nif a:\n    b\n</parameter>\n"
    "<parameter=timeout>\n5\n</parameter>\n</function>\n</tool_call>\n"
    "<tool_call>\n<function=python>\n<parameter=code>\n2\n</parameter>\n</function>\n</tool_call>",
    SeedToolCalls(): "<seed:think>Hm.</seed:think>\n<seed:tool_call>\n<function=python>\n"
    "<parameter=code>if a:\n    b</parameter>\n<parameter=timeout>5</parameter>\n</function>\n"
    "</seed:tool_call>\n<seed:tool_call>\n<function=python>\n<parameter=code>\n2\n</parameter>\n"
    "</function>\n</seed:tool_call>",
    MiniMaxToolCalls(): '<minimax:tool_call>\n<invoke name="python">\n'
    '<parameter name="code">if a:\n    b</parameter>\n<parameter name="timeout">5</parameter>\n'
    '</invoke>\n<invoke name="python">\n<parameter name="code">2</parameter>\n</invoke>\n'
    "</minimax:tool_call>",
    GLMToolCalls(): "<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>if a:\n    b"
    "</arg_value>\n<arg_key>timeout</arg_key>\n<arg_value>5</arg_value>\n</tool_call>\n"
    "<tool_call>python<arg_key>code</arg_key><arg_value>2</arg_value></tool_call>",
}


@pytest.mark.parametrize(
    ("format_", "text"), TWO.items(), ids=lambda each: getattr(each, "name", "")
)
def test_the_program_is_what_stands_between_the_tags(format_: ToolCallFormat, text: str) -> None:
    assert codes(f"I run two.\n\n{text}", format_) == ["if a:\n    b", "2"]
    assert codes(text.replace("\n", "\r\n"), format_) == ["if a:\n    b", "2"]
    first, second = format_.parse(text)
    assert (first.tool, second.end) == ("python", len(text))


@pytest.mark.parametrize("format_", TWO, ids=lambda each: each.name)
def test_closing_tags_that_close_nothing_stay_in_the_program(format_: ToolCallFormat) -> None:
    code = "s = '</parameter>'\nt = '</arg_value>', '</seed:tool_call>', '<tool_call>'"
    assert codes(format_.render(code) * 2, format_) == [code, code]


@pytest.mark.parametrize("format_", TWO, ids=lambda each: each.name)
def test_what_cannot_be_carried_is_refused(format_: ToolCallFormat) -> None:
    with pytest.raises(InvalidArgumentError, match=f"the format {format_.name}, which would end"):
        format_.render(f"s = '''{format_.render('1')}'''")


@pytest.mark.parametrize(
    "end", ["", "\n</parameter>", "\n</parameter>\n</function>", "\n</function>\n</tool_call>"]
)
def test_tags_that_are_missing_at_the_end_are_no_matter(end: str) -> None:
    text = f"<tool_call>\n<function=python>\n<parameter=code>\n1{end}"
    assert codes(text) == ["1"]
    assert codes(f"{text}\n{text}") == ["1", "1"]


def test_a_call_may_lack_what_opens_it_and_may_have_json() -> None:
    assert codes("<function=python>\n<parameter=code>\n1\n</parameter>\n</function>") == ["1"]
    assert codes('<tool_call><function=python>{"code": "1"}</function></tool_call>') == ["1"]


def test_glm_may_write_two_characters_for_a_line_end() -> None:
    text = "<tool_call>python\\n<arg_key>code</arg_key>\\n<arg_value>1</arg_value>\\n</tool_call>"
    assert codes(text, GLMToolCalls()) == ["1"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<tool_call>\nprint(1)\n</tool_call>", "The call names no tool."),
        ("<tool_call>\n<function=python>\n1\n</function>\n</tool_call>", "given: none."),
        ("<function=python><parameter=x>1</parameter></function>", "given: x."),
        ("<function=ls><parameter=code>1</parameter></function>", "There is no tool 'ls'"),
        ('<function=python>{"code": 1 1}</function>', "The arguments are no JSON: a comma or }"),
    ],
)
def test_what_is_malformed_is_told_with_a_right_call(text: str, told: str) -> None:
    (block,) = QWEN.parse(text)
    assert told in str(block.problem)
    assert codes(str(block.problem).partition("A right call:\n")[2]) == ["print(1)"]
    assert block.end == len(text)
