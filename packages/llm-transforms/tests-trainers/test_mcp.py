"""The MCP server on a service that processes of this machine share."""

from __future__ import annotations

import os
import sys

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import CallToolResult, TextContent

from services_core import Handle, ServiceBase

# Seconds: far more than anything takes, and less than the program that is to be ended.
SOON = 45


async def execute(client: Client, code: str) -> str:
    result = await client.call_tool("execute_python", {"code": code})
    assert isinstance(result, CallToolResult)
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


def test_the_server_is_one_session_of_the_service_and_closes_it(
    services: ServiceBase, executor: Handle
) -> None:
    options = ["--timeout=600", "--services=local", f"--namespace={services.namespace}"]
    server = StdioServerParameters(
        command=sys.executable,
        args=["-P", "-m", "llm_transforms.mcp", *options],
        # Clients pass on but a few variables.
        env={"SERVICES_LOCAL_DIR": os.environ["SERVICES_LOCAL_DIR"]},
    )

    async def test() -> None:
        with anyio.fail_after(SOON):
            async with Client(stdio_client(server)) as client:
                await execute(client, "x = 41")
                [session] = executor.list_sessions()
                with anyio.move_on_after(0.5):
                    await execute(client, "x = 42\nwhile True: pass")
                assert await execute(client, "x") == "42\n"
                assert [each["session"] for each in executor.list_sessions()] == [
                    session["session"]
                ]

    anyio.run(test)
    assert executor.list_sessions() == []
    assert executor.execute("6 * 7")["value"] == "42"
