"""Several formats at once, and all of them."""

import pytest

from llm_transforms import InvalidArgumentError
from llm_transforms.parsing import AnyOf, CodeBlock, TaggedCode, code_format

HERMES = '<tool_call>\n{"name": "python", "arguments": {"code": "1"}}\n</tool_call>'
QWEN = (
    "<tool_call>\n<function=python>\n<parameter=code>\n2\n</parameter>\n</function>\n</tool_call>"
)
GLM = "<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>3</arg_value>\n</tool_call>"


def read(text: str, choice: str | list[str] = "auto") -> list[tuple[str, bool]]:
    blocks = code_format(choice).blocks({"role": "assistant", "content": text})
    return [(block.code, block.problem is None) for block in blocks]


def test_blocks_of_all_formats_come_in_the_order_of_the_text() -> None:
    text = f"<python>0</python>\n{HERMES}\n```python\n5\n```\n{HERMES}"
    assert read(text, ["hermes", "markdown", "python_tags"]) == [
        ("0", True),
        ("1", True),
        ("5", True),
        ("1", True),
    ]


def test_of_blocks_that_overlap_the_first_is_taken() -> None:
    fence = f"```python\ns = '''\n{HERMES}\n'''\n```"
    assert read(fence) == [(f"s = '''\n{HERMES}\n'''", True)]
    inside = '<tool_call>{"name": "python", "arguments": {"code": "```python\n1\n```"}}</tool_call>'
    assert read(inside) == [("1", True)]


def test_of_blocks_at_one_place_one_that_can_be_run_is_taken() -> None:
    formats = AnyOf([code_format("hermes"), TaggedCode("tool_call")])
    (block,) = formats.parse("<tool_call>\nprint(1)\n</tool_call>")
    assert (block.code, block.problem) == ("print(1)", None)


@pytest.mark.parametrize("choice", ["auto", ["hermes", "qwen3_coder", "glm"], ["glm", "hermes"]])
def test_formats_with_one_delimiter_are_told_apart_by_what_follows(
    choice: str | list[str],
) -> None:
    texts = {"1": HERMES, "2": QWEN, "3": GLM}
    if "qwen3_coder" not in choice and choice != "auto":
        del texts["2"]
    assert read("\n".join(texts.values()), choice) == [(code, True) for code in texts]


def test_a_malformed_call_is_told_once_and_by_the_format_that_understood_most() -> None:
    for text, right in (
        (QWEN.replace("=code", "=x"), "<function=python>"),
        (GLM.replace("code", "x"), "<arg_key>"),
        (HERMES.replace("code", "x"), '{"name": "python"'),
        ("<tool_call>\nprint(1)\n</tool_call>", '{"name": "python"'),
    ):
        (block,) = code_format("auto").blocks({"role": "assistant", "content": text})
        assert right in str(block.problem).partition("A right call:")[2]


@pytest.mark.parametrize(
    "text",
    [
        "To run code, a model writes <tool_call> and JSON, or a `<|python_tag|>`.",
        "Tags such as `<python>`, `<code>`, '<tool_calls>' and `<seed:tool_call>` are known.",
        "In HTML, <code>x</code> is code; see <function> and <parameter>.",
        "```json\n{}\n```\n```output\n1\n```",
        'The answer is {"name": "python"}.',
    ],
)
def test_prose_about_formats_holds_no_program(text: str) -> None:
    assert read(text) == []


def test_a_name_is_made_of_those_of_the_formats_and_nesting_is_possible() -> None:
    assert code_format(["markdown", "hermes"]).name == "markdown+hermes"
    inner = AnyOf([code_format("glm")], name="inner")
    assert AnyOf([inner]).parse(GLM) == inner.parse(GLM)
    assert inner.parse(GLM) == [CodeBlock("3", 0, len(GLM), tool="python")]


def test_there_must_be_a_format() -> None:
    with pytest.raises(InvalidArgumentError, match="formats must be at least one format"):
        code_format([])


def test_a_call_that_stands_in_the_text_and_in_a_field_is_run_once() -> None:
    function = {"name": "python", "arguments": '{"code": "1"}'}
    call = {"id": "a", "type": "function", "function": function}
    message = {"role": "assistant", "content": f"{HERMES}\n{QWEN}", "tool_calls": [call]}
    blocks = code_format("auto").blocks(message)
    assert [(block.code, block.call_id) for block in blocks] == [("2", None), ("1", "a")]


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n<|im_end|>",
        "```python\nprint(1)<|im_end|>\n",
        "<python>\nprint(1)\n<|im_end|>",
        "<tool_call>\n<function=python>\n<parameter=code>\nprint(1)\n<|im_end|><|endoftext|>",
        "<seed:tool_call>\n<function=python>\n<parameter=code>print(1)<seed:eos>",
        "<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>print(1)\n<|observation|>",
        '<minimax:tool_call>\n<invoke name="python">\n<parameter name="code">print(1)\n[e~[',
    ],
)
def test_special_tokens_behind_what_nothing_closes_are_no_code(text: str) -> None:
    assert read(text) == [("print(1)", True)]


def test_a_code_tag_that_has_lines_of_its_own_may_be_followed_by_words() -> None:
    assert read("So.\n<code>\nprint(1)\n</code> Now I wait.") == [("print(1)", True)]
    assert read("Call <code>f</code> now.\n<code>g</code> is HTML too.") == []
