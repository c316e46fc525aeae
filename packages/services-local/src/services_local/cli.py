"""`services-local`: see and end what runs on this machine, without writing a program."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from services_local import ending, lease, records
from services_local.errors import RuntimeDirectoryError
from services_local.runtime import RuntimeDirectory, chosen_root

_DESCRIPTION = """\
See and end the services of this user on this machine.

Services live in namespaces. They outlive the worker that registered them, and end some 30 seconds
after the last process that has their namespace open; detached ones stay until they are reset.
"""

_EPILOG = """\
examples:
  services-local list                 all namespaces and their services
  services-local list --json          the same for programs
  services-local reset training       end all services of the namespace "training"
  services-local reset --all          end all of this user's services in the runtime directory

The runtime directory is where services and their callers meet: --runtime-dir, or else
SERVICES_LOCAL_DIR, or else services-local-<uid> in the temporary directory. What a service
prints is in its log file there (the one whose name ends in .log).
"""

_LIST = "Show the namespaces, the processes that have them open, and their services."

_RESET = """\
End services: each one's close() runs if it has one, then its process ends. Detached services and
those under construction end too. Processes that have the namespace open keep it open, and may
register anew.
"""

_COLUMNS = ("name", "class", "pid", "state", "started", "restarts", "detached")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code.

    Args:
        arguments: Instead of those of the process.
    """
    options = _parser().parse_args(arguments)
    root = chosen_root(options.runtime_dir)
    try:
        # Looking doesn't make the directory.
        runtime = RuntimeDirectory.open(str(root)) if root.exists() else None
    except RuntimeDirectoryError as error:
        print(f"services-local: {error}", file=sys.stderr)
        return 1
    if options.command == "list":
        return _list(root if runtime is None else runtime.root, runtime, options.json)
    return _reset(runtime, options.namespace)


def _parser() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--runtime-dir", metavar="DIR", help="where services and callers meet")
    parser = argparse.ArgumentParser(
        prog="services-local",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser(
        "list", parents=[where], help="show namespaces and services", description=_LIST
    )
    listing.add_argument("--json", action="store_true", help="print JSON")
    reset = commands.add_parser(
        "reset", parents=[where], help="end the services of a namespace", description=_RESET
    )
    chosen = reset.add_mutually_exclusive_group(required=True)
    chosen.add_argument("namespace", nargs="?", metavar="NAMESPACE", help="whose services end")
    chosen.add_argument("--all", action="store_true", help="those of all namespaces")
    return parser


def _list(root: object, runtime: RuntimeDirectory | None, as_json: bool) -> int:  # noqa: FBT001
    namespaces = [] if runtime is None else [_overview(runtime, n) for n in runtime.namespaces()]
    if as_json:
        print(json.dumps({"runtime_dir": str(root), "namespaces": namespaces}, indent=2))
        return 0
    if not namespaces:
        print(f"no services in {root}")
    for index, namespace in enumerate(namespaces):
        print("\n" * bool(index) + _headline(namespace))
        for line in _table(namespace["services"]):
            print(f"  {line}")
    return 0


def _reset(runtime: RuntimeDirectory | None, namespace: str | None) -> int:
    there = [] if runtime is None else runtime.namespaces()
    if namespace is not None and namespace not in there:
        listed = ", ".join(map(repr, there)) or "none"
        print(f"services-local: no namespace {namespace!r}; there: {listed}", file=sys.stderr)
        return 1
    for each in there if namespace is None else [namespace]:
        assert runtime is not None
        ended = _end_all(runtime, each)
        print(f"{each}: ended {', '.join(ended)}" if ended else f"{each}: nothing to end")
    return 0


def _end_all(runtime: RuntimeDirectory, namespace: str) -> list[str]:
    names = sorted(name for name, _, _ in records.taken(runtime, namespace))
    with ThreadPoolExecutor(max(1, min(len(names), 16))) as pool:
        done = pool.map(lambda name: ending.stop(runtime, namespace, name), names)
        ended = [name for name, was_there in zip(names, done, strict=True) if was_there]
    with lease.abandoned(runtime.lease(namespace)) as nobody:
        if nobody:
            records.remove_namespace(runtime, namespace)
    return ended


def _overview(runtime: RuntimeDirectory, namespace: str) -> dict[str, Any]:
    return {
        "name": namespace,
        "openers": lease.openers(runtime.lease(namespace)),
        "services": sorted(_services(runtime, namespace), key=lambda service: service["name"]),
    }


def _services(runtime: RuntimeDirectory, namespace: str) -> Iterator[dict[str, Any]]:
    for name, record, pid in records.taken(runtime, namespace):
        if record is None:
            yield dict.fromkeys(_COLUMNS) | {"name": name, "pid": pid, "state": "starting"}
        else:
            yield {
                "name": name,
                "class": record.class_name,
                "pid": None if record.is_restarting else record.pid,
                "state": record.state,
                "started": datetime.fromtimestamp(record.started_at).astimezone().isoformat(),
                "restarts": record.restarts,
                "detached": record.detached,
            }


def _headline(namespace: dict[str, Any]) -> str:
    openers = namespace["openers"]
    if openers is None:
        return str(namespace["name"])
    by = f"open in {', '.join(map(str, openers))}" if openers else "nobody has it open"
    return f"{namespace['name']} ({by})"


def _table(services: list[dict[str, Any]]) -> list[str]:
    if not services:
        return ["no services"]
    rows = [[_cell(service[column]) for column in _COLUMNS] for service in services]
    rows.insert(0, [column.upper() for column in _COLUMNS])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
