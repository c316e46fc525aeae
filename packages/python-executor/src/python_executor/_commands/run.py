"""``python-executor run``: one program; its output as it comes, its exit status passed on."""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Callable
from importlib.util import decode_source
from pathlib import Path
from typing import Any, BinaryIO

from python_executor._commands import products
from python_executor._commands.arguments import (
    CommandError,
    add_interpreter,
    describe,
    seconds,
    size,
)
from python_executor.results import Execution, ExecutionResult
from python_executor.sandbox import REQUIRED, SandboxInfo, SandboxMode, SandboxPolicy
from python_executor.service import PythonExecutorService

_DESCRIPTION = """\
Run a program in the sandbox. What it writes to stdout and stderr comes out as it is and when it
comes, and its exit status is the command's: 128 + N if signal N ended it, 137 if it was ended
because it ran too long, took too much memory or wrote too much (without --json, a line on stderr
says so). 2 if the command can't run it, 130 after Ctrl-C.
"""

_EXAMPLES = (
    ("python-executor run program.py", ""),
    ("python-executor run --timeout 60 --memory 4G program.py", "more than the usual"),
    ("python-executor run --file in.csv=data.csv --out result program.py", "files in and out"),
    ("python-executor run --stdin answers.txt program.py", "what input() reads"),
    ("python-executor run --preload numpy,pandas program.py", "imported before it starts"),
    ("python-executor run --read ~/datasets --network program.py", "let it do more"),
    ("python-executor run --sandbox strict program.py", "refuse if a layer is missing"),
    ("python-executor run --seed 1 --hash-seed 1 program.py", "the same each time"),
    ("python-executor run --json program.py", "status, value, error, files, ..."),
)

_SANDBOXES = ("auto", "strict", "tight", "off")
_EXTENSIVE = 64 * 1024 * 1024


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("run", help="run a program in the sandbox")
    describe(parser, _DESCRIPTION, _EXAMPLES)
    parser.set_defaults(main=main)
    parser.add_argument("program", metavar="FILE", help="the program; - is standard input")
    parser.add_argument(
        "--json", action="store_true", help="print the result as JSON, files in base64"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=10.0, help="how long it may run (10)"
    )
    parser.add_argument(
        "--stdin", metavar="FILE", help="what it reads; - is standard input (empty without)"
    )
    parser.add_argument(
        "--file",
        metavar="NAME=PATH",
        action="append",
        default=[],
        help="a file for its working directory, of that name there (repeatable)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="where to put the files that it made, and its figures; new or empty",
    )
    parser.add_argument(
        "--max-output",
        metavar="SIZE",
        type=size,
        default=_EXTENSIVE,
        help="how much it may write to stdout and stderr together (64M)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="seed random, and numpy's and torch's global generators (else different each time)",
    )
    parser.add_argument(
        "--hash-seed",
        metavar="N",
        type=int,
        help="fix how strings are hashed, and so the order of sets (PYTHONHASHSEED)",
    )
    add_interpreter(parser)
    _add_sandbox(parser.add_argument_group("sandbox", "what the program may do"))


def _add_sandbox(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--sandbox",
        choices=_SANDBOXES,
        default="auto",
        help="auto: all layers that this machine gives; strict: refuse to run without those that "
        "matter; tight: auto with 256M of memory, 16M of files, 64 of them open; off: none, for "
        "your own programs",
    )
    for name, what in (("read", "read"), ("write", "read and write")):
        group.add_argument(
            f"--{name}",
            metavar="PATH",
            action="append",
            help=f"a file or folder that it may {what} (repeatable)",
        )
    group.add_argument("--network", action="store_const", const=True, help="let it use IP sockets")
    group.add_argument(
        "--processes", metavar="N", type=int, help="let it start processes, N at a time"
    )
    group.add_argument(
        "--memory",
        metavar="SIZE",
        type=size,
        help="how much memory it may take (1G; 256M with tight)",
    )


def main(options: argparse.Namespace) -> int:
    """Run the program; returns the exit status.

    Raises:
        CommandError: a file can't be read or written, or options contradict each other.
        PythonExecutorError: an argument is impossible, or the pool can't be started.
    """
    if options.program == "-" and options.stdin == "-":
        raise CommandError("the program and --stdin can't both come from standard input")
    execution = Execution(
        _decoded(options.program, decode_source),
        timeout=options.timeout,
        stdin=None if options.stdin is None else _decoded(options.stdin, _from_utf8),
        files=dict(_named(text) for text in options.file),
        seed=options.seed,
    )
    folder = None if options.out is None else products.prepare(options.out)
    result = _execute(execution, options)
    if options.json:
        print(json.dumps(_as_json(result), indent=2))
    else:
        _tell(result, kept=folder is not None)
    if folder is not None:
        products.save(result, folder)
    returncode = result["returncode"]
    return returncode if returncode >= 0 else 128 - returncode


def _execute(execution: Execution, options: argparse.Namespace) -> ExecutionResult:
    """Execute the program on a pool of its own, which passes on what it writes."""
    most = options.max_output
    if most < 1:
        raise CommandError("--max-output 0: it must be at least 1")
    with PythonExecutorService(
        1,
        preload=options.preload,
        python=options.python,
        sandbox=_sandbox(options),
        max_output=most if options.json else 1,  # what is passed on needn't be kept
        max_total_output=most,
        hash_seed=options.hash_seed,
    ) as executor:
        _warn(executor.info()["sandbox"])
        echo = None if options.json else (_writer(sys.stdout.buffer), _writer(sys.stderr.buffer))
        return executor._execute(execution, echo)  # noqa: SLF001


def _sandbox(options: argparse.Namespace) -> SandboxMode | SandboxPolicy:
    names = ("read", "write", "network", "processes", "memory")
    changes: dict[str, Any] = {
        name: value for name in names if (value := getattr(options, name)) is not None
    }
    if options.sandbox == "off":
        if changes:
            raise CommandError(
                f"--{next(iter(changes))} has no effect with --sandbox off: leave one out"
            )
        return "off"
    if options.sandbox == "tight":
        return SandboxPolicy.tight(**changes)
    return SandboxPolicy(strict=options.sandbox == "strict", **changes)


def _warn(sandbox: SandboxInfo) -> None:
    """Say what is missing that matters: whoever runs a stranger's program should know."""
    missing = [
        layer["layer"]
        for layer in sandbox["layers"]
        if layer["layer"] in REQUIRED and not layer["on"]
    ]
    if missing:
        print(
            f"python-executor: the sandbox lacks {', '.join(missing)} here; "
            "`python-executor doctor` says what to do, --sandbox strict refuses to run so.",
            file=sys.stderr,
        )


def _decoded(name: str, decode: Callable[[bytes], str]) -> str:
    """Read a file, or standard input, as text."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return decode(data)
    except OSError as error:
        raise CommandError(f"can't read {name}: {error.strerror}") from error
    except (UnicodeDecodeError, SyntaxError) as error:
        raise CommandError(f"can't read {name} as text: {error}") from error


def _from_utf8(data: bytes) -> str:
    return data.decode()


def _named(text: str) -> tuple[str, bytes]:
    """Read a file for the program: ``NAME=PATH``."""
    name, separator, path = text.partition("=")
    if not separator:
        raise CommandError(f"--file {text}: NAME=PATH is expected, such as in.csv=data/in.csv")
    try:
        return name, Path(path).read_bytes()
    except OSError as error:
        raise CommandError(f"can't read {path}: {error.strerror}") from error


def _writer(stream: BinaryIO) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        stream.write(data)
        stream.flush()

    return write


def _tell(result: ExecutionResult, *, kept: bool) -> None:
    """Say on stderr what the program can't have said itself."""
    error = result["error"]
    if error is not None and not error["traceback"] and error["type"] != "SystemExit":
        print(f"python-executor: {error['type']}: {error['message']}", file=sys.stderr)
    left = [
        f"{number} {what}{'s' * (number > 1)}"
        for number, what in ((len(result["files"]), "file"), (len(result["displays"]), "figure"))
        if number
    ]
    if left and not kept and sys.stderr.isatty():
        print(f"python-executor: {' and '.join(left)}: --out FOLDER keeps them", file=sys.stderr)


def _as_json(result: ExecutionResult) -> dict[str, Any]:
    files = {name: base64.b64encode(data).decode() for name, data in result["files"].items()}
    return {**result, "files": files}
