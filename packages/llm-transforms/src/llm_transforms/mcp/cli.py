"""The command line of the server: `llm-transforms-mcp --help`."""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import anyio

from llm_transforms.errors import TransformError
from llm_transforms.mcp.server import Cancel, PythonServer
from llm_transforms.tool import PythonTool
from python_executor import PythonExecutorError, PythonExecutorService
from services_core import Handle, ServiceBase, ServiceError, call_each_replica, get_services

# Of a pool of the server's own. Calls that wait need a thread each, and cancelling needs one more.
_SERVICE_NAME = "python_executor"
_CONCURRENCY = 256

_OF_A_SERVICE = ("namespace", "service_name")
_OF_THE_POOL = ("pool_size", "preload", "sandbox")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stdin is closed.

    Args:
        arguments: The command line without the program's name; None takes that of this process.

    Returns:
        The exit status: 0, as one that can't begin exits with 2 and says why.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    _refuse_what_does_nothing(parser, options)
    if options.max_timeout < options.timeout:
        parser.error(
            f"--timeout {options.timeout:g} is more than --max-timeout {options.max_timeout:g}: "
            "raise that too"
        )
    with ExitStack() as stack:
        try:
            tool, cancel = stack.enter_context(_opened(options))
        except (ServiceError, PythonExecutorError, TransformError, ValueError) as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
        server = PythonServer(
            tool,
            cancel,
            timeout=options.timeout,
            max_timeout=options.max_timeout,
            persistent=not options.stateless,
        )
        anyio.run(server.serve)
    return 0


@contextmanager
def _opened(options: argparse.Namespace) -> Iterator[tuple[PythonTool, Cancel]]:
    """Open the tool, and what it runs on: a service of others, or a pool of its own."""
    with _registry(options) as services:
        executor = services[options.service_name]
        with PythonTool(
            services=services,
            service_name=options.service_name,
            persistent=not options.stateless,
            timeout=options.timeout,
            max_output_chars=options.max_output_chars,
        ) as tool:
            yield tool, _canceller(executor)


@contextmanager
def _registry(options: argparse.Namespace) -> Iterator[ServiceBase]:
    if options.services is not None:
        services = get_services(options.services, options.namespace)
        try:
            yield services
        finally:
            services.close()
        return
    with get_services("inline", f"mcp-{uuid.uuid4().hex}") as services:
        services.register_with_options(
            options.service_name,
            PythonExecutorService,
            actor_options={"max_concurrency": _CONCURRENCY},
            pool_size=options.pool_size,
            timeout=options.timeout,
            preload=options.preload,
            sandbox=options.sandbox,
        )
        yield services


def _canceller(executor: object) -> Cancel:
    """Return what cancels an execution, on whichever replica; a service may lack the method."""

    def cancel(identifier: str) -> bool:
        method = getattr(executor, "cancel", None)
        if method is None:
            return False
        if isinstance(executor, Handle):
            return any(call_each_replica(method, identifier))
        return bool(method(identifier))

    return cancel


def _refuse_what_does_nothing(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with an error if an option of the other place where programs run was given."""
    own_pool = options.services is None
    why = (
        "a service of others: say which with --services"
        if own_pool
        else "this server's own pool: leave it out, or --services"
    )
    for name in _OF_A_SERVICE if own_pool else _OF_THE_POOL:
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} is for {why}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "llm-transforms-mcp",
        description="Serve the tools execute_python and reset over stdin and stdout, by the Model "
        "Context Protocol.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=30.0, help="seconds that a program may run"
    )
    parser.add_argument(
        "--max-timeout", type=_seconds, default=600.0, help="the most that a call can ask for"
    )
    parser.add_argument(
        "--stateless", action="store_true", help="start each program afresh, several at a time"
    )
    parser.add_argument(
        "--max-output-chars", type=int, default=20_000, help="of stdout, of stderr and of the value"
    )
    service = parser.add_argument_group("programs run on a service of others")
    service.add_argument("--services", metavar="BACKEND", help="its backend: local, ray, ...")
    service.add_argument("--namespace", default="services", help="its namespace")
    service.add_argument("--service-name", default=_SERVICE_NAME, help="its name")
    pool = parser.add_argument_group("or, without --services, in this server's own pool")
    pool.add_argument("--pool-size", type=int, default=4, help="programs that run at a time")
    pool.add_argument("--preload", nargs="*", default=(), metavar="MODULE", help="imported before")
    pool.add_argument(
        "--sandbox",
        choices=["auto", "strict", "off"],
        default="auto",
        help="the protection that this machine gives; no start without what matters; or none",
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not positive and finite")
    return value
