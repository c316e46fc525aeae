"""``python-executor``: run a program, look at what this machine gives, measure.

Exit status: that of the program (``run``), 0 or 1 for what was found (``doctor``), 2 if the command
can't do what it was asked, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from python_executor._commands import bench, doctor, run
from python_executor._commands.arguments import describe
from python_executor.errors import PythonExecutorError, in_one_line

_DESCRIPTION = """\
Run Python programs, each in a pristine process and in a sandbox: a program reads the system and
Python, writes to a directory of its own, and has no network, no other processes, and limits on
time, memory and files.
"""

_EXAMPLES = (
    ("python-executor run program.py", "run a program in the sandbox"),
    ("echo 'print(6 * 7)' | python-executor run -", "the same from standard input"),
    ("python-executor run --json program.py", "the whole result: value, error, files, ..."),
    ("python-executor doctor", "which layers of the sandbox hold here, and what to do"),
    ("python-executor bench", "how fast it is here"),
    ("python-executor run --help", "all that a program can be given"),
)

_USAGE_ERROR, _INTERRUPTED, _BROKEN_PIPE = 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status.

    Args:
        arguments: instead of those of the process.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.main(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Who read it is gone. Python would complain of it once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except PythonExecutorError as error:
        print(f"python-executor: {in_one_line(error)}", file=sys.stderr)
        return _USAGE_ERROR
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python-executor")
    describe(parser, _DESCRIPTION, _EXAMPLES)
    parser.add_argument(
        "--version", action="version", version=f"python-executor {version('python-executor')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for module in (run, doctor, bench):
        module.add(commands)
    return parser
