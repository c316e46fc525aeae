"""An agent of verifiers plays a task with the tool; its model is a scripted server on loopback.

Agent, harness, tool server and its client are verifiers' own: the harness is a chat loop in a
process of its own, made by uv, and asks the "model" with the openai package.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import verifiers.v1 as vf

from llm_transforms.verifiers import PythonToolset, PythonToolsetConfig
from services_core import Handle, ServiceBase

# The harness's environment is made at its first run.
pytestmark = pytest.mark.timeout(180)

Conversation = list[dict[str, Any]]


class ScriptedModel(ThreadingHTTPServer):
    """Speaks `/v1/chat/completions`: a call of `python` for each program, then "done"."""

    def __init__(self, programs: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.programs = programs
        self.requests: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def told(self) -> list[str]:
        """What the tool said, in the longest conversation."""
        longest = max((each["messages"] for each in self.requests), key=len)
        return [message["content"] for message in longest if message["role"] == "tool"]


class _Answer(BaseHTTPRequestHandler):
    server: ScriptedModel

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        assert request["stream"]
        self.server.requests.append(request)
        turn = sum(message["role"] == "assistant" for message in request["messages"])
        if turn < len(self.server.programs):
            arguments = json.dumps({"code": self.server.programs[turn]})
            function = {"name": "python", "arguments": arguments}
            call = {"index": 0, "id": f"call_{turn}", "type": "function", "function": function}
            delta, reason = {"role": "assistant", "tool_calls": [call]}, "tool_calls"
        else:
            delta, reason = {"role": "assistant", "content": "done"}, "stop"
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
            {"choices": [], "usage": usage},
        ]
        kind = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        lines = [json.dumps({**kind, **chunk}) for chunk in chunks]
        body = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def model(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ScriptedModel]:
    monkeypatch.setenv("SCRIPTED_API_KEY", "none")
    with ScriptedModel(request.param) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def play(model: ScriptedModel, toolset: PythonToolsetConfig, *, rollouts: int = 1) -> None:
    """Play a task that has the toolset, some rollouts at a time."""

    class Asked(vf.Task):
        @classmethod
        def toolsets(cls, config: object) -> list[PythonToolset]:
            return [PythonToolset(toolset)]

    config = vf.AgentConfig(
        harness={"id": "null"},
        runtime=vf.SubprocessConfig(),
        model="scripted",
        client=vf.EvalClientConfig(base_url=model.url, api_key_var="SCRIPTED_API_KEY"),
    )

    async def run() -> None:
        async with vf.Agent(config) as agent:
            task = Asked(vf.TaskData(prompt="What is 6 * 7?"))
            traces = await asyncio.gather(*(agent.run(task) for _ in range(rollouts)))
        for trace in traces:
            assert trace.ok, trace.errors

    asyncio.run(run())


@pytest.mark.parametrize("model", [("n = 6\nprint('set')", "n * 7", "1 / 0")], indirect=True)
def test_an_agent_calls_the_tool_and_a_rollout_keeps_its_names(model: ScriptedModel) -> None:
    play(model, PythonToolsetConfig())
    [tool] = model.requests[0]["tools"]
    assert tool["function"]["name"] == "python"
    assert tool["function"]["description"] == "Run a Python program and return what it prints."
    assert list(tool["function"]["parameters"]["properties"]) == ["code"]
    first, second, third = model.told
    assert (first, second) == ("set\n", "42\n")
    assert third.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize("model", [("n = globals().get('n', 0) + 1\nn",) * 2], indirect=True)
def test_rollouts_are_sessions_of_a_shared_service(
    model: ScriptedModel, services: ServiceBase, executor: Handle
) -> None:
    shared = PythonToolsetConfig(services="local", namespace=services.namespace)
    play(model, shared, rollouts=2)
    longest = [each for each in model.requests if len(each["messages"]) == 5]
    assert len(longest) == 2
    for each in longest:
        assert [m["content"] for m in each["messages"] if m["role"] == "tool"] == ["1\n", "2\n"]
    assert executor.stats()["executions"] == 4
