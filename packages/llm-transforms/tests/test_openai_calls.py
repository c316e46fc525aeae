"""The field `tool_calls` of a message."""

from types import SimpleNamespace
from typing import Any

import pytest

from llm_transforms.parsing import CodeBlock, OpenAIToolCalls, code_format

FORMAT = OpenAIToolCalls()


def message(*calls: object, **fields: object) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **fields}


def function(arguments: object, name: str = "python", call_id: str = "call_1") -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


@pytest.mark.parametrize("arguments", ['{"code": "1"}', {"code": "1"}, '{"input": "1"}'])
def test_arguments_are_json_or_a_mapping(arguments: object) -> None:
    assert FORMAT.blocks(message(function(arguments))) == [
        CodeBlock("1", 0, 0, call_id="call_1", tool="python")
    ]


def test_calls_may_be_objects_with_attributes() -> None:
    inner = SimpleNamespace(name="python", arguments='{"code": "1"}')
    call = SimpleNamespace(id="call_7", type="function", function=inner)
    (block,) = FORMAT.blocks(message(call))
    assert (block.code, block.call_id, block.problem) == ("1", "call_7", None)


def test_custom_tools_have_the_program_as_input() -> None:
    call = {"id": "c", "type": "custom", "custom": {"name": "python", "input": "1"}}
    assert [(b.code, b.call_id, b.problem) for b in FORMAT.blocks(message(call))] == [
        ("1", "c", None)
    ]


def test_the_older_function_call_is_read() -> None:
    legacy = {"role": "assistant", "function_call": {"name": "python", "arguments": '{"code":"1"}'}}
    assert FORMAT.blocks(legacy) == [CodeBlock("1", 0, 0, tool="python", function_call=True)]


def test_a_message_without_calls_has_no_block() -> None:
    nothing: list[dict[str, Any]] = [{}, {"tool_calls": None}, {"tool_calls": []}]
    for fields in [*nothing, {"function_call": None}]:
        assert FORMAT.blocks({"role": "assistant", "content": "hi", **fields}) == []


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (function("{"), 'must be the argument "code"; given: none'),
        (function("print(1)"), "The arguments are no JSON: a value is expected at 'print(1)'"),
        (function('{"code": "1"} x'), "there is more after its end at 'x'"),
        (function(None), "The arguments must be an object"),
        (function("{}", name="search"), "There is no tool 'search'"),
        ({"id": "call_1", "custom": {"name": "python"}}, "The input must be a string"),
        ({"id": "call_1"}, "The call names no tool."),
    ],
)
def test_what_is_malformed_keeps_its_identifier_and_is_told(call: object, told: str) -> None:
    (block,) = FORMAT.blocks(message(call))
    assert block.call_id == "call_1"
    assert told in str(block.problem)


def test_a_field_that_is_no_list_is_told() -> None:
    (block,) = FORMAT.blocks({"role": "assistant", "tool_calls": "python"})
    assert block.problem == "tool_calls must be a list of calls."


def test_blocks_of_the_text_come_before_the_calls() -> None:
    both = message(function('{"code": "2"}'), function('{"code": "3"}'))
    both["content"] = "```python\n1\n```"
    blocks = code_format(["openai", "markdown"]).blocks(both)
    assert [block.code for block in blocks] == ["1", "2", "3"]
