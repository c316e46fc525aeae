"""``SandboxPolicy``: what programs may do. What keeps them from the rest is in ``_child``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypedDict

from python_executor._arguments import check_count
from python_executor.errors import (
    InvalidArgumentError,
    InvalidArgumentTypeError,
    SandboxUnavailableError,
)

SandboxMode = Literal["auto", "strict", "off"]
"""``auto`` takes every layer that the machine gives; ``strict`` refuses to start without one of
``REQUIRED``; ``off`` is for trusted programs."""

REQUIRED = ("capabilities", "landlock", "seccomp", "limits")
"""The layers that ``strict`` insists on. The others are added where they are permitted."""

# Set to 0, it keeps the servers from making namespaces: to see what a container without them gives.
NAMESPACES_VARIABLE = "PYTHON_EXECUTOR_NAMESPACES"

_MIB = 1024 * 1024


class LayerReport(TypedDict):
    """One layer of the sandbox on this machine."""

    layer: str
    """``capabilities``, ``landlock``, ``seccomp``, ``limits``, ``environment``, ``kill``,
    ``namespaces`` or ``users``."""
    on: bool
    detail: str
    """What it gives; if it is not on, what stands in the way."""


ALWAYS_ON: list[LayerReport] = [
    {"layer": "environment", "on": True, "detail": "an allow-list of the host's variables"},
    {"layer": "kill", "on": True, "detail": "all that a program has started ends with it"},
]
"""The layers that need nothing of the kernel that this package doesn't."""


class SandboxInfo(TypedDict):
    """The sandbox of a pool."""

    mode: str
    """``auto``, ``strict`` or ``off``."""
    layers: list[LayerReport]
    """Empty if it is off, or the servers are being restarted."""


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """What a program may do. The default fits programs that compute: numpy, pandas, torch, files.

    Beside ``read``, programs can read the system's programs and libraries, Python and the modules
    that it can import; beside ``write``, they can write to a directory of their own, which is the
    working directory and empty at the start.

    Args:
        read: files and directories to read.
        write: files and directories to read and write; what programs leave there stays.
        network: whether programs may use IP sockets.
        processes: how many processes a program may have beside its own; 0 is no ``fork`` and no
            ``exec``.
        memory: bytes that a program may take beyond what the pool has preloaded.
        disk: bytes that it may write to its own directory.
        open_files: how many descriptors it may have open at a time.
        strict: whether to raise SandboxUnavailableError where a layer of ``REQUIRED`` is missing.

    Raises:
        InvalidArgumentError: a value is impossible, a path doesn't exist (a ``ValueError``).
        InvalidArgumentTypeError: a value has the wrong type (a ``TypeError``).

    Example:
        >>> SandboxPolicy(memory=512 * 1024 * 1024).network
        False
        >>> SandboxPolicy.tight().memory // 1024 // 1024
        256
    """

    read: Sequence[str | os.PathLike[str]] = ()
    write: Sequence[str | os.PathLike[str]] = ()
    network: bool = False
    processes: int = 0
    memory: int = 1024 * _MIB
    disk: int = 256 * _MIB
    open_files: int = 256
    strict: bool = False

    def __post_init__(self) -> None:
        for name in ("read", "write"):
            object.__setattr__(self, name, _check_paths(name, getattr(self, name)))
        for name in ("network", "strict"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidArgumentTypeError(name, getattr(self, name), "True or False")
        check_count("processes", self.processes, least=0, most=1024)
        check_count("memory", self.memory, least=16 * _MIB)
        check_count("disk", self.disk, least=4096)
        check_count("open_files", self.open_files, least=16, most=65536)

    @classmethod
    def tight(cls, **changes: Any) -> Self:
        """For short programs of a model that trains: 256 MiB of memory, 16 MiB of files.

        Args:
            **changes: fields to set otherwise.
        """
        small = cls(memory=256 * _MIB, disk=16 * _MIB, open_files=64)
        return replace(small, **changes)

    @classmethod
    def with_network(cls, **changes: Any) -> Self:
        """For programs that download: IP sockets, names and certificates; no Unix sockets.

        A program can then reach whatever this machine can, services on loopback included.

        Args:
            **changes: fields to set otherwise.
        """
        return replace(cls(network=True), **changes)

    @classmethod
    def with_processes(cls, **changes: Any) -> Self:
        """For programs that use ``subprocess`` or ``multiprocessing``: up to 32 processes.

        They stay inside the same sandbox, and end with the program.

        Args:
            **changes: fields to set otherwise.
        """
        return replace(cls(processes=32), **changes)

    def plan(self, slots: int, sessions: int = 0) -> dict[str, Any]:
        """What the servers are told.

        Args:
            slots: how many slots there will be.
            sessions: how many sessions, beside them.
        """
        return {
            "read": list(self.read),
            "write": list(self.write),
            "network": self.network,
            "processes": self.processes,
            "memory": self.memory,
            "disk": self.disk,
            "open_files": self.open_files,
            "namespaces": os.environ.get(NAMESPACES_VARIABLE, "") != "0",
            "slots": slots + sessions,
            "sessions": sessions,
        }


def _check_paths(parameter: str, paths: object) -> tuple[str, ...]:
    if isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable):
        raise InvalidArgumentTypeError(parameter, paths, "a sequence of paths")
    checked = []
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise InvalidArgumentTypeError(parameter, path, "a sequence of paths")
        real = Path(path).expanduser().resolve()
        if not real.exists():
            raise InvalidArgumentError(parameter, str(path), "paths of what exists")
        checked.append(str(real))
    return tuple(checked)


def check_sandbox(sandbox: object) -> tuple[SandboxMode, SandboxPolicy | None]:
    """Return mode and policy of a ``sandbox`` argument; no policy is no sandbox.

    Raises:
        InvalidArgumentError: it is no mode.
        InvalidArgumentTypeError: it is neither a string nor a policy.
        SandboxUnavailableError: this system can't have what is asked for.
    """
    expected = "'auto', 'strict', 'off' or a SandboxPolicy"
    if isinstance(sandbox, SandboxPolicy):
        mode: SandboxMode = "strict" if sandbox.strict else "auto"
        policy: SandboxPolicy | None = sandbox
    elif not isinstance(sandbox, str):
        raise InvalidArgumentTypeError("sandbox", sandbox, expected)
    elif sandbox == "auto":
        mode, policy = "auto", SandboxPolicy()
    elif sandbox == "strict":
        mode, policy = "strict", SandboxPolicy(strict=True)
    elif sandbox == "off":
        mode, policy = "off", None
    else:
        raise InvalidArgumentError("sandbox", sandbox, expected)
    if policy is not None and not sys.platform.startswith("linux"):
        raise SandboxUnavailableError(
            {"platform": f"python-executor is for Linux, and this is {sys.platform}"}
        )
    return mode, policy


def check_layers(mode: SandboxMode, layers: Iterable[LayerReport]) -> None:
    """Insist on what ``strict`` promises.

    Raises:
        SandboxUnavailableError: a layer of ``REQUIRED`` is missing.
    """
    if mode != "strict":
        return
    on = {report["layer"] for report in layers if report["on"]}
    details = {report["layer"]: report["detail"] for report in layers}
    missing = {name: details.get(name, "not reported") for name in REQUIRED if name not in on}
    if missing:
        raise SandboxUnavailableError(missing)
