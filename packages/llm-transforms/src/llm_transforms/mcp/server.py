"""The tools `execute_python` and `reset` as a server of the Model Context Protocol.

client --stdio--> Server (one event loop) --a thread a call--> PythonTool --> pool or service
                    |-- calls of the session take turns; other requests don't wait for them
                    '-- a cancelled call interrupts its program, and the next one waits for its end
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from importlib.metadata import version
from typing import Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

from llm_transforms.results import images_of, rejected
from llm_transforms.tool import PythonTool, parameters, start_thread
from python_executor import (
    Execution,
    ExecutionResult,
    InvalidArgumentError,
    PythonExecutorError,
)
from services_core import ServiceError

_NAME = "llm-transforms"
# Seconds until a program that is to be cancelled is looked for again, if it had not begun.
_AGAIN = 0.02

Cancel = Callable[[str], bool]
"""Cancels the execution of that id, from any thread; whether there was one."""


class PythonServer:
    """Serves a tool over stdin and stdout, until stdin is closed.

    A program can't reach the protocol: its process has neither of both, and what this process
    prints meanwhile goes to stderr.

    Args:
        tool: What runs the programs; its names last as it has them. Stays the caller's to close.
        cancel: Ends an execution whose request was cancelled.
        timeout: Seconds that a program may run unless a call gives its own.
        max_timeout: The most that a call can give.
        persistent: Whether names last, so that calls take turns and can be reset.

    Example (ends at once, as stdin is at its end)::

        with PythonTool() as tool:
            anyio.run(PythonServer(tool, lambda _: False, persistent=False).serve)
    """

    def __init__(
        self,
        tool: PythonTool,
        cancel: Cancel,
        *,
        timeout: float = 30.0,
        max_timeout: float = 600.0,
        persistent: bool = True,
    ) -> None:
        self._tool = tool
        self._cancel = cancel
        self._timeout = timeout
        self._max_timeout = max_timeout
        self._persistent = persistent
        self._turn: AbstractAsyncContextManager[object] = (
            asyncio.Lock() if persistent else nullcontext()
        )

    async def serve(self) -> None:
        """Answer requests until stdin is closed; then what runs is ended."""
        server: Server[Any] = Server(
            _NAME,
            version=version("llm-transforms"),
            instructions=self._tool.description,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    async def _list(
        self, context: object, request: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=self.tools())

    def tools(self) -> list[Tool]:
        """Return what clients are told of the tools; without state there is no `reset`."""
        schema = parameters()
        schema["properties"]["timeout"] = {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": self._max_timeout,
            "description": f"Seconds that it may run; {self._timeout:g} if not given.",
        }
        execute = Tool(
            name="execute_python", description=self._tool.description, input_schema=schema
        )
        if not self._persistent:
            return [execute]
        nothing = {"type": "object", "properties": {}, "additionalProperties": False}
        told = "Forget all names and files of earlier programs."
        return [execute, Tool(name="reset", description=told, input_schema=nothing)]

    async def _call(self, context: object, request: CallToolRequestParams) -> CallToolResult:
        arguments = request.arguments or {}
        if request.name == "execute_python":
            return await self._execute(arguments)
        if request.name == "reset" and self._persistent:
            return await self._reset(arguments)
        raise MCPError(INVALID_PARAMS, f"Unknown tool: {request.name}")

    async def _execute(self, arguments: Mapping[str, Any]) -> CallToolResult:
        identifier = uuid.uuid4().hex
        try:
            execution = self._execution(arguments, identifier)
        except (InvalidArgumentError, TypeError) as error:
            return self._answer(rejected(str(error)))
        async with self._turn:
            running = start_thread(lambda: self._tool.run(execution))
            try:
                return self._answer(await asyncio.wrap_future(running))
            except (ServiceError, PythonExecutorError) as error:
                return _failure(str(error))
            except asyncio.CancelledError:
                with anyio.CancelScope(shield=True):
                    await self._end(running, identifier)
                raise

    def _execution(self, arguments: Mapping[str, Any], identifier: str) -> Execution:
        unknown = sorted(arguments.keys() - {"code", "timeout"})
        if unknown:
            raise TypeError(f"unknown arguments {', '.join(unknown)}; there are code and timeout")
        timeout = arguments.get("timeout")
        timeout = self._timeout if timeout is None else timeout
        # A model may send anything, which is checked here.
        execution = Execution(arguments.get("code"), timeout, execution_id=identifier)  # type: ignore[arg-type]
        if timeout > self._max_timeout:
            raise TypeError(
                f"timeout must be at most {self._max_timeout:g} seconds, not {timeout:g}"
            )
        return execution

    async def _end(self, running: Future[ExecutionResult], identifier: str) -> None:
        """Cancel a program and wait for its end: the session's next one can't begin before."""
        while not running.done():
            # It isn't known yet if it has only just been sent.
            with suppress(ServiceError, PythonExecutorError):  # a replica died: perhaps not ours
                if await asyncio.wrap_future(start_thread(lambda: self._cancel(identifier))):
                    break
            await asyncio.wait([asyncio.wrap_future(running)], timeout=_AGAIN)
        await asyncio.wait([asyncio.wrap_future(running)])

    async def _reset(self, arguments: Mapping[str, Any]) -> CallToolResult:
        if arguments:
            return _failure(f"reset takes no arguments, not {', '.join(sorted(arguments))}")
        async with self._turn:
            try:
                await asyncio.wrap_future(start_thread(self._tool.reset))
            except (ServiceError, PythonExecutorError) as error:
                return _failure(str(error))
        return CallToolResult(content=[TextContent(text="All names and files are gone.")])

    def _answer(self, result: ExecutionResult) -> CallToolResult:
        content: list[ContentBlock] = []
        for image in images_of(result):  # data:image/png;base64,...
            kind, _, data = image.removeprefix("data:").partition(";base64,")
            content.append(ImageContent(data=data, mime_type=kind))
        text = self._tool.tell(result)
        if text or not content:
            content.insert(0, TextContent(text=text))
        return CallToolResult(content=content, is_error=not result["success"])


def _failure(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)
