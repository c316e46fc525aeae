"""Message lists with the objects of the openai package, which verifiers brings."""

from __future__ import annotations

from openai.types.chat import ChatCompletion

from llm_transforms import PythonInterpreter
from llm_transforms.openai import answer_tool_calls


def test_the_objects_of_a_completion_are_answered() -> None:
    function = {"name": "python", "arguments": '{"code": "6 * 7"}'}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
    }
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message, "logprobs": None}
    completion = ChatCompletion.model_validate(
        {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    )
    reply = completion.choices[0].message
    with PythonInterpreter(code_format="openai", results="openai") as interpreter:
        assert answer_tool_calls(interpreter, [{"role": "user", "content": "?"}, reply]) == [
            {"role": "tool", "tool_call_id": "call_1", "content": "42\n"}
        ]
