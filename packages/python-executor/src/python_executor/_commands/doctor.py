"""``python-executor doctor``: what this machine gives, and what to do about what is missing."""

from __future__ import annotations

import argparse
import json
import textwrap
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from python_executor import _machine
from python_executor._commands.arguments import add_interpreter, count, describe
from python_executor._examination import Check, Examination, examine
from python_executor._machine import Machine

_DESCRIPTION = """\
Start a pool of one and tell, layer by layer, what of the sandbox holds on this machine, what is
missing, and what to do about it. The exit status is 0 if every layer holds that sandbox="strict"
insists on (those with a *), and 1 if not.
"""

_EXAMPLES = (
    ("python-executor doctor", ""),
    ("python-executor doctor --preload numpy,pandas", "also: threads that they start"),
    ("python-executor doctor --python .venv/bin/python", "of the interpreter that will be used"),
    ("python-executor doctor --pool-size 128", "is there room for so many"),
    ("python-executor doctor --json", "for programs"),
)

_WIDTH = 100
_INDENT = " " * 10


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("doctor", help="tell what of the sandbox holds here")
    describe(parser, _DESCRIPTION, _EXAMPLES)
    parser.set_defaults(main=main)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--pool-size", metavar="N", type=count, default=32, help="see that N slots have room (32)"
    )
    add_interpreter(parser)


def main(options: argparse.Namespace) -> int:
    """Examine and report; returns the exit status."""
    machine = _machine.look()
    examination = examine(machine, options.python, options.preload, options.pool_size)
    if options.json:
        print(json.dumps(_as_json(machine, examination), indent=2))
    else:
        print(_as_text(machine, examination))
    return 0 if examination.strict else 1


def _as_json(machine: Machine, examination: Examination) -> dict[str, Any]:
    return {
        "version": version("python-executor"),
        "machine": asdict(machine),
        "python": examination.python,
        "strict": examination.strict,
        "layers": [_check_as_json(check) for check in examination.layers],
        "others": [_check_as_json(check) for check in examination.others],
    }


def _check_as_json(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "status": check.status,
        "required": check.required,
        "detail": check.detail,
        "advice": [step._asdict() for step in check.steps],
    }


def _as_text(machine: Machine, examination: Examination) -> str:
    lines = [f"python-executor {version('python-executor')} on {machine}"]
    if examination.python:
        lines.append(f"Programs run on Python {examination.python}")
    for title, checks in (
        ("The sandbox (* is required by sandbox='strict')", examination.layers),
        ("What a pool meets", examination.others),
    ):
        if checks:
            lines += ["", title, ""]
            for check in checks:
                lines += _check_as_text(check)
    lines += ["", _verdict(examination)]
    return "\n".join(lines)


def _check_as_text(check: Check) -> list[str]:
    name = f"{check.name} *" if check.required else check.name
    head = f"  {check.status:<8}{name:<16}"
    first, *others = check.detail.splitlines() or [""]
    lines = [f"{head}{first}", *(f"{_INDENT}{line}" for line in others)]
    for step in check.steps:
        what = f"{step.what}:" if step.command else f"{step.what}."
        lines += textwrap.wrap(
            what, _WIDTH, initial_indent=f"{_INDENT}- ", subsequent_indent=f"{_INDENT}  "
        )
        if step.command:
            lines.append(f"{_INDENT}    {step.command}")
    return lines


def _verdict(examination: Examination) -> str:
    if not examination.python:
        return "No pool can be made so: look at --python and --preload, if they are given."
    missing = [check.name for check in examination.layers if check.status == "missing"]
    required = [c.name for c in examination.layers if c.required and c.status != "ok"]
    if required:
        return f"Required and missing: {', '.join(required)}. sandbox='strict' refuses to start."
    optional = f" Not on, and optional: {', '.join(missing)}." if missing else ""
    return f"All that is required holds: sandbox='strict' works here.{optional}"
