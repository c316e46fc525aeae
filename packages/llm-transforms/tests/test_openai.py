"""OpenAI-style message lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from llm_transforms import InvalidMessageError, PythonInterpreter
from llm_transforms.openai import answer_tool_calls, openai_tool


@pytest.fixture
def interpreter() -> Iterator[PythonInterpreter]:
    with PythonInterpreter(code_format="openai", results="openai", persistent=True) as interpreter:
        yield interpreter


def call(number: int, arguments: str, name: str = "python") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


def asked(*calls: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": "What is 6 * 7?"},
        {"role": "assistant", "content": None, "tool_calls": list(calls)},
    ]


def test_each_call_is_answered_by_its_id_in_order(interpreter: PythonInterpreter) -> None:
    first, second = (json.dumps({"code": code}) for code in ("n = 6", "print(n * 7)"))
    assert answer_tool_calls(interpreter, asked(call(1, first), call(2, second))) == [
        {"role": "tool", "tool_call_id": "call_1", "content": ""},
        {"role": "tool", "tool_call_id": "call_2", "content": "42\n"},
    ]
    more = answer_tool_calls(interpreter, asked(call(3, json.dumps({"code": "n"}))))
    assert more == [{"role": "tool", "tool_call_id": "call_3", "content": "6\n"}]


def test_calls_that_cannot_be_run_are_answered_too(interpreter: PythonInterpreter) -> None:
    calls = [call(1, '{"code": "1'), call(2, "{}", "search"), call(3, '{"code": "6 * 7"}')]
    malformed, unknown, good = answer_tool_calls(interpreter, asked(*calls))
    assert (malformed["tool_call_id"], unknown["tool_call_id"]) == ("call_1", "call_2")
    assert "JSON" in malformed["content"]
    assert "search" in unknown["content"]
    assert good["content"] == "42\n"


def test_messages_may_be_objects_and_have_the_older_field(interpreter: PythonInterpreter) -> None:
    function = SimpleNamespace(name="python", arguments='{"code": "6 * 7"}')
    reply = SimpleNamespace(role="assistant", content=None, tool_calls=None, function_call=function)
    assert answer_tool_calls(interpreter, [reply]) == [
        {"role": "function", "name": "python", "content": "42\n"}
    ]
    reply.role = "user"
    assert answer_tool_calls(interpreter, [reply]) == []


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [("python", '{"code": "6 * 7"}', "42\n"), ("search", "{}", "no tool 'search'")],
)
def test_the_older_function_call_is_answered_in_its_role_and_by_its_name(
    interpreter: PythonInterpreter, name: str, arguments: str, told: str
) -> None:
    legacy = {"role": "assistant", "function_call": {"name": name, "arguments": arguments}}
    (answer,) = answer_tool_calls(interpreter, [legacy])
    assert told in answer.pop("content")
    assert answer == {"role": "function", "name": name}


def test_what_holds_no_calls_has_no_answers(interpreter: PythonInterpreter) -> None:
    assert answer_tool_calls(interpreter, []) == []
    assert answer_tool_calls(interpreter, [{"role": "assistant", "content": "42"}]) == []
    told = {"role": "user", "content": "", "tool_calls": [call(1, '{"code": "1"}')]}
    assert answer_tool_calls(interpreter, [told]) == []


@pytest.mark.parametrize(
    ("messages", "where"),
    [
        ({"role": "assistant", "content": "6"}, "messages must be"),
        ("What is 6 * 7?", "messages must be"),
        (SimpleNamespace(role="assistant", content="6"), "messages must be"),
        ([{"role": "user", "content": ""}, "6"], r"messages\[1\] must be"),
        ([{"role": "user", "content": ""}, {"content": "6"}], r"messages\[1\] must be"),
    ],
)
def test_what_is_no_list_of_messages_is_refused(
    interpreter: PythonInterpreter, messages: Any, where: str
) -> None:
    with pytest.raises(InvalidMessageError, match=where):
        answer_tool_calls(interpreter, messages)


def test_the_tool_is_described() -> None:
    tool = openai_tool(name="execute_python", persistent=True)
    assert tool["type"] == "function"
    assert tool["function"]["name"] == "execute_python"
    assert "Names, imports and files are kept" in tool["function"]["description"]
    assert tool["function"]["parameters"]["required"] == ["code"]
    assert openai_tool(description="Do it.")["function"]["description"] == "Do it."
