"""Examining a machine: which layers of the sandbox hold, and what else a pool meets there.

The fork server tells about the layers, because it has tried them; a program in its sandbox tells
about Python; the rest is read from the system.
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from python_executor import _advice
from python_executor._advice import Step
from python_executor._machine import Machine
from python_executor.errors import ForkServerError, SandboxUnavailableError, in_one_line
from python_executor.sandbox import REQUIRED, LayerReport, SandboxPolicy
from python_executor.service import PythonExecutorService

# At most what a pool takes for each slot (see the tests): descriptors of the process that has it;
# processes: a slot server and its interpreter. And what that process may have beside.
DESCRIPTORS_A_SLOT, DESCRIPTORS_BESIDE = 8, 64
PROCESSES_A_SLOT, PROCESSES_BESIDE = 2, 64

# Which modules and packages of a folder have bytecode of this version; and where Python is.
_PROBE = """
import json, os, sys, sysconfig
from importlib.util import cache_from_source

folders = dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "platlib", "purelib"))
bytecode = []
for folder in folders:
    sources = []
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = f"{folder}/{name}"
        sources += [path] if name.endswith(".py") else [f"{path}/__init__.py"]
    sources = [path for path in sources if os.path.isfile(path) and os.path.getsize(path)]
    compiled = sum(os.path.exists(cache_from_source(path)) for path in sources)
    bytecode.append([folder, len(sources), compiled])
paths = [*folders, sys.executable, sys.prefix, sys.base_prefix]
print(json.dumps({"bytecode": bytecode, "paths": paths}))
"""
# Below this part of a folder's modules, advice is given: a few never compile.
_COMPILED = 0.8
_RIGHTS = {"r": stat.S_IROTH, "x": stat.S_IXOTH}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: of the layer, or of what was looked at.
        status: ``ok``; ``missing``: a layer that isn't on; ``advice``: it works, and could better.
        detail: what was found.
        required: whether ``sandbox="strict"`` insists on it.
        steps: what to do.
    """

    name: str
    status: Literal["ok", "missing", "advice"]
    detail: str
    required: bool = False
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found.

    Args:
        layers: of the sandbox; one check alone, ``fork server``, if no pool can be made.
        others: what else a pool meets.
        python: version of the interpreter that runs programs; empty if no pool can be made.
    """

    layers: list[Check]
    others: list[Check]
    python: str

    @property
    def strict(self) -> bool:
        """Whether all that is required is there: ``sandbox="strict"`` works."""
        return all(check.status == "ok" for check in self.layers if check.required)


def examine(
    machine: Machine, python: str | None, preload: list[str], pool_size: int
) -> Examination:
    """Make a pool of one, and look at what it has.

    Args:
        machine: where.
        python: interpreter to run programs with; None is this process's own.
        preload: modules to import before.
        pool_size: for how many slots there must be room.

    Raises:
        InvalidArgumentError: ``preload`` holds what is no name of a module.
    """
    try:
        with PythonExecutorService(pool_size=1, preload=preload, python=python) as executor:
            info = executor.info()
            result = executor.execute(_PROBE)
            found: dict[str, Any] = json.loads(result["stdout"]) if result["success"] else {}
            threads = _threads_of(info["server"])
    except (ForkServerError, SandboxUnavailableError) as error:
        steps = _advice.for_missing("platform", machine)
        return Examination(
            [Check("fork server", "missing", in_one_line(error), required=True, steps=steps)],
            [],
            "",
        )
    closed = closed_to_others([*found.get("paths", []), str(Path(__file__).parent)])
    layers = [_layer(report, machine, closed) for report in info["sandbox"]["layers"]]
    others = [
        *(_bytecode(info["python"], *each) for each in found.get("bytecode", []) if each[1]),
        _threads(preload, threads),
        _descriptors(machine, pool_size),
        _processes(machine, pool_size),
        _memory(machine, pool_size, files=info["directory"] is None),
    ]
    return Examination(layers, others, info["python_version"].split()[0])


def _layer(report: LayerReport, machine: Machine, closed: dict[str, str]) -> Check:
    name, detail = report["layer"], report["detail"]
    required = name in REQUIRED
    if report["on"]:
        return Check(name, "ok", detail, required, _advice.for_present(name, detail, machine))
    steps = _advice.for_missing(name, machine)
    if name == "users" and machine.user == 0:
        steps += _advice.for_users(closed)
    return Check(name, "missing", detail, required, steps)


def closed_to_others(paths: list[str]) -> dict[str, str]:
    """Find what keeps other users from reading paths: the first such step, and what it lacks."""
    closed = {}
    for path in paths:
        real = Path(path).resolve()
        for step in [*reversed(real.parents), real]:
            try:
                mode = step.stat().st_mode
            except OSError:
                break
            needed = "x" if stat.S_ISDIR(mode) else ""
            needed += "r" if step == real else ""
            lacking = [right for right in needed if not mode & _RIGHTS[right]]
            if lacking:
                closed[str(step)] = "".join(lacking)
                break
    return dict(sorted(closed.items()))


def _threads_of(pid: int | None) -> list[str]:
    """Names of a process's threads beside its first one."""
    threads = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name))
    return [(path / "comm").read_text().strip() for path in threads if path.name != str(pid)]


def _bytecode(python: str, folder: str, modules: int, compiled: int) -> Check:
    detail = f"{compiled} of {modules} modules in {folder}"
    if compiled >= _COMPILED * modules:
        return Check("bytecode", "ok", detail)
    return Check("bytecode", "advice", detail, steps=_advice.for_bytecode(python, folder))


def _threads(preload: list[str], names: list[str]) -> Check:
    what = f"{', '.join(preload)} preloaded" if preload else "nothing preloaded"
    if not names:
        return Check("threads", "ok", f"none in the fork server, {what}")
    detail = f"{len(names)} in the fork server, {what}"
    return Check("threads", "advice", detail, steps=[_advice.for_threads(names)])


def _descriptors(machine: Machine, pool_size: int) -> Check:
    wanted = DESCRIPTORS_A_SLOT * pool_size + DESCRIPTORS_BESIDE
    soft = machine.descriptors[0]
    there = f"there may be {_number(soft)} (ulimit -n)"
    detail = f"a pool of {pool_size} takes at most {wanted}, and {there}"
    if soft is None or soft >= wanted:
        return Check("descriptors", "ok", detail)
    return Check("descriptors", "advice", detail, steps=_advice.for_descriptors(wanted))


def _processes(machine: Machine, pool_size: int) -> Check:
    wanted = PROCESSES_A_SLOT * pool_size + PROCESSES_BESIDE
    most = machine.processes
    detail = f"a pool of {pool_size} takes at most {wanted}, and there may be {_number(most)}"
    if most is None or most >= wanted:
        return Check("processes", "ok", detail)
    return Check("processes", "advice", detail, steps=_advice.for_processes(wanted))


def _memory(machine: Machine, pool_size: int, *, files: bool) -> Check:
    """Look at what programs may take by default; ``files``: theirs are in memory as well."""
    policy = SandboxPolicy()
    each = policy.memory + policy.disk * files
    detail = f"{pool_size} programs may take {_gib(pool_size * each)} together"
    if machine.memory is None:
        return Check("memory", "ok", detail)
    detail += f", and there are {_gib(machine.memory)}"
    if machine.memory >= pool_size * each:
        return Check("memory", "ok", detail)
    share = max(machine.memory // pool_size - policy.disk * files, 16 * 1024**2)
    return Check("memory", "advice", detail, steps=[_advice.for_memory(share)])


def _number(limit: int | None) -> str:
    return "as many as it likes" if limit is None else str(limit)


def _gib(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB"
