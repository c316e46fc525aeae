"""The MCP server, as a process of its own, with the client of the official SDK."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, TextIO

import anyio
import anyio.lowlevel
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ImageContent, TextContent

from llm_transforms.mcp import main

Mode = Literal["auto", "legacy"]
# The protocol of 2026-07-28, and the handshake of those before, which most clients speak.
MODES: tuple[Mode, ...] = ("auto", "legacy")
COMMAND = (sys.executable, "-P", "-m", "llm_transforms.mcp")
# Seconds; far more than anything takes, and far less than the programs that are to be ended.
SOON = 45
FOREVER = "while True: pass"


def nowhere() -> TextIO:
    return Path(os.devnull).open("w")


@asynccontextmanager
async def connect(*options: str, mode: Mode = "auto") -> AsyncIterator[Client]:
    server = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], *options])
    with nowhere() as log:
        async with Client(stdio_client(server, errlog=log), mode=mode) as client:
            yield client


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        with anyio.fail_after(SOON):
            await test()

    anyio.run(within)


async def execute(client: Client, code: str, **more: Any) -> CallToolResult:
    result = await client.call_tool("execute_python", {"code": code, **more})
    assert isinstance(result, CallToolResult)
    return result


def text_of(result: CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


def descendants(pid: int) -> dict[int, str]:
    """The pids of all that descend from a process, with when each began."""
    began: dict[int, tuple[int, str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                began[int(stat.parent.name)] = (int(fields[1]), fields[19])
    found = {pid}
    while more := {each for each, (parent, _) in began.items() if parent in found} - found:
        found |= more
    return {each: began[each][1] for each in found - {pid}}


def alive(processes: dict[int, str]) -> dict[int, str]:
    now = descendants(0) | descendants(1)
    return {pid: began for pid, began in processes.items() if now.get(pid) == began}


def test_the_tools_are_described() -> None:
    async def test() -> None:
        async with connect("--timeout", "7") as client:
            execute_python, reset = (await client.list_tools()).tools
            assert (execute_python.name, reset.name) == ("execute_python", "reset")
            assert execute_python.description is not None
            assert "Names, imports and files are kept" in execute_python.description
            properties = execute_python.input_schema["properties"]
            assert properties["code"]["type"] == "string"
            assert "7 if not given" in properties["timeout"]["description"]
            assert execute_python.input_schema["required"] == ["code"]

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_names_last_until_the_reset(mode: Mode) -> None:
    async def test() -> None:
        async with connect(mode=mode) as client:
            assert not (await execute(client, "x = 41")).is_error
            assert text_of(await execute(client, "x + 1")) == "42\n"
            reset = await client.call_tool("reset", {})
            assert not reset.is_error
            gone = await execute(client, "x")
            assert gone.is_error
            assert text_of(gone).endswith("NameError: name 'x' is not defined\n")

    run(test)


def test_without_state_each_program_starts_afresh_and_there_is_no_reset() -> None:
    async def test() -> None:
        async with connect("--stateless") as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["execute_python"]
            await execute(client, "x = 41")
            assert (await execute(client, "x")).is_error
            with pytest.raises(MCPError, match="reset"):
                await client.call_tool("reset", {})

    run(test)


def test_what_a_program_writes_never_reaches_the_protocol() -> None:
    forged = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}})
    code = f"import os, sys\nfor fd in range(1, 64):\n try: os.write(fd, b'''{forged}\\n''')\n"
    code += " except OSError: pass\nsys.__stdout__.write('done')"

    async def test() -> None:
        async with connect() as client:
            # What it does to its own channel is the program's end at most.
            await execute(client, code)
            assert forged in text_of(await execute(client, f"print('''{forged}''')"))
            assert text_of(await execute(client, "6 * 7")) == "42\n"
            assert text_of(await execute(client, "input()")).endswith(
                "EOFError: EOF when reading a line\n"
            )

    run(test)


def test_a_program_that_fails_is_an_error_of_the_tool() -> None:
    async def test() -> None:
        async with connect() as client:
            failed = await execute(client, "print('so far')\n1 / 0")
            assert failed.is_error
            assert text_of(failed).startswith("so far\n")
            assert text_of(failed).endswith("ZeroDivisionError: division by zero\n")
            late = await execute(client, FOREVER, timeout=0.2)
            assert late.is_error
            assert "TimeoutError" in text_of(late)

    run(test)


def test_figures_are_images_beside_the_text() -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint('drawn')"

    async def test() -> None:
        async with connect() as client:
            told, image = (await execute(client, code)).content
            assert isinstance(told, TextContent)
            assert told.text == "drawn\n"
            assert isinstance(image, ImageContent)
            assert image.mime_type == "image/png"
            assert base64.b64decode(image.data).startswith(b"\x89PNG")

    run(test)


def test_arguments_that_cannot_be_used_are_told() -> None:
    unusable: list[tuple[dict[str, Any], str]] = [
        ({}, "code must be"),
        ({"code": 3}, "code must be"),
        ({"code": "1", "timeout": -1}, "timeout must be"),
        ({"code": "1", "timeout": "soon"}, "timeout must be"),
        ({"code": "1", "timeout": 601}, "at most 600"),
        ({"code": "1", "speed": 2}, "unknown arguments speed"),
    ]

    async def test() -> None:
        async with connect() as client:
            for arguments, said in unusable:
                result = await client.call_tool("execute_python", arguments)
                assert isinstance(result, CallToolResult)
                assert result.is_error, arguments
                assert said in text_of(result)

    run(test)


def test_a_long_program_keeps_no_other_request_waiting() -> None:
    async def test() -> None:
        async with connect("--timeout", "600") as client, anyio.create_task_group() as tasks:
            tasks.start_soon(execute, client, FOREVER)
            for _ in range(3):
                assert len((await client.list_tools(cache_mode="bypass")).tools) == 2
            tasks.cancel_scope.cancel()

    run(test)


def test_calls_of_a_session_take_turns_in_their_order() -> None:
    async def test() -> None:
        async with connect() as client:
            await execute(client, "n = 0")
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(execute, client, "m = n\nn = m + 1")
            assert text_of(await execute(client, "n")) == "8\n"

    run(test)


@pytest.mark.parametrize("mode", MODES)
def test_a_cancelled_request_interrupts_its_program_and_keeps_the_names(mode: Mode) -> None:
    async def test() -> None:
        async with connect("--timeout", "600", mode=mode) as client:
            await execute(client, "x = 41")
            # Once it may not have begun, once it has: both are ended.
            for seconds in (0.0, 0.5):
                with anyio.move_on_after(seconds):
                    await execute(client, f"x += 1\n{FOREVER}")
            told = text_of(await execute(client, "x"))
            assert told in ("42\n", "43\n")

    run(test)


def test_a_cancelled_request_that_waits_for_its_turn_never_begins() -> None:
    async def test() -> None:
        async with connect("--timeout", "600") as client:
            await execute(client, "x = 1")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(execute, client, FOREVER)
                await anyio.lowlevel.checkpoint()
                with anyio.move_on_after(0.2) as waiting:
                    await execute(client, "x = 2")
                assert waiting.cancelled_caught
                tasks.cancel_scope.cancel()
            assert text_of(await execute(client, "x")) == "1\n"

    run(test)


def test_closing_stdin_ends_the_server_and_its_processes() -> None:
    everything: dict[int, str] = {}

    async def test() -> None:
        async with connect("--timeout", "600") as client, anyio.create_task_group() as tasks:
            await execute(client, "x = 1")
            tasks.start_soon(execute, client, FOREVER)
            await client.list_tools()
            everything.update(descendants(os.getpid()))
            tasks.cancel_scope.cancel()

    run(test)
    assert len(everything) > 2  # the server, its fork server, the session
    assert alive(everything) == {}


def test_stdin_that_closes_while_a_program_runs_ends_it() -> None:
    def message(number: int, method: str, **parameters: object) -> bytes:
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
        return json.dumps(body).encode() + b"\n"

    hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
    about = {"clientInfo": {"name": "test", "version": "0"}}
    loop = {"name": "execute_python", "arguments": {"code": FOREVER}}
    command = [*COMMAND, "--timeout", "600"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(message(1, "initialize", **hello, **about))
        server.stdin.flush()
        assert json.loads(server.stdout.readline())["id"] == 1
        server.stdin.write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')
        server.stdin.write(message(2, "tools/call", **loop) + message(3, "ping"))
        server.stdin.flush()
        assert json.loads(server.stdout.readline())["id"] == 3
        processes = descendants(server.pid)
        server.stdin.close()
        assert server.wait(SOON) == 0
    assert processes
    assert alive(processes) == {}


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    [command] = entry_points(group="console_scripts", name="llm-transforms-mcp")
    assert command.load() is main
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for option in ("--timeout", "--services", "--namespace", "--service-name", "--stateless"):
        assert option in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--services inline --sandbox strict", "--sandbox is for this server's own pool"),
        ("--services inline --preload json", "--preload is for this server's own pool"),
        ("--services inline --pool-size 2", "--pool-size is for this server's own pool"),
        ("--namespace training", "--namespace is for a service of others"),
        ("--service-name mine", "--service-name is for a service of others"),
        ("--timeout 900", "--timeout 900 is more than --max-timeout 600"),
    ],
)
def test_options_that_do_nothing_or_contradict_each_other_are_refused(
    options: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_service_that_is_not_there_ends_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    command = [*COMMAND, "--services", "inline", "--namespace", "nowhere"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("llm-transforms-mcp: ")
    assert "python_executor" in ended.stderr
    assert "Traceback" not in ended.stderr
