"""What this machine and this process are, as far as a sandbox depends on it."""

from __future__ import annotations

import errno
import os
import platform
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from python_executor.sandbox import NAMESPACES_VARIABLE

# Each keeps users from making namespaces where it has this value.
_FORBIDDING = {
    "kernel.apparmor_restrict_unprivileged_userns": "1",
    "kernel.unprivileged_userns_clone": "0",
    "user.max_user_namespaces": "0",
}


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts, none of which is asked of the network or needs privileges.

    Args:
        system: ``Linux``, or another that has no sandbox.
        kernel: its release, such as ``6.8.0-45-generic``.
        architecture: such as ``x86_64``.
        user: effective uid.
        container: ``Docker``, ``Podman``, ``Kubernetes``, ``gVisor``, ``a container``, or None.
        filtered: whether a seccomp filter of somebody else is over this process.
        landlock: the kernel's ABI, or, below 0, the errno that it answers with.
        forbidding: settings (sysctl) that forbid namespaces, by name.
        switched_off: whether the user switched namespaces off by the environment.
        shared_memory: whether there is a /dev/shm, below which programs get their directories.
        descriptors: soft and hard RLIMIT_NOFILE; None is no limit.
        processes: how many processes this user or this container may have; None is no limit.
        memory: bytes that this machine or this container has.
    """

    system: str
    kernel: str
    architecture: str
    user: int
    container: str | None
    filtered: bool
    landlock: int
    forbidding: dict[str, str]
    switched_off: bool
    shared_memory: bool
    descriptors: tuple[int | None, int | None]
    processes: int | None
    memory: int | None

    @property
    def version(self) -> tuple[int, int]:
        """Of the kernel: major and minor."""
        match = re.match(r"(\d+)\.(\d+)", self.kernel)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    def __str__(self) -> str:
        where = f", in {self.container}" if self.container else ""
        who = "root" if self.user == 0 else f"user {self.user}"
        return f"{self.system} {self.kernel}, {self.architecture}{where}, as {who}"


def look() -> Machine:
    """Look at this machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Machine(
        system=platform.system(),
        kernel=platform.release(),
        architecture=platform.machine(),
        user=os.geteuid(),
        container=_container(),
        filtered=_field("/proc/self/status", "Seccomp") == "2",
        landlock=_landlock(),
        forbidding={
            name: value
            for name, value in _FORBIDDING.items()
            if _text(f"/proc/sys/{name.replace('.', '/')}") == value
        },
        switched_off=os.environ.get(NAMESPACES_VARIABLE) == "0",
        shared_memory=Path("/dev/shm").is_dir(),  # noqa: S108
        descriptors=(_limit(soft), _limit(hard)),
        processes=_processes(),
        memory=_memory(),
    )


def _landlock() -> int:
    if not sys.platform.startswith("linux"):
        return -errno.ENOSYS
    from python_executor._child import linux  # needs libc's prctl

    try:
        # landlock_create_ruleset(2), asked for its version.
        return linux.syscall(444, None, 0, 1)
    except OSError as error:
        return -(error.errno or errno.ENOSYS)


def _container() -> str | None:
    if "gvisor" in _text("/proc/version").lower() or _text("/proc/sys/kernel/osrelease") == "4.4.0":
        return "gVisor"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "Kubernetes"
    if Path("/run/.containerenv").exists():
        return "Podman"
    if Path("/.dockerenv").exists():
        return "Docker"
    if re.search(r"docker|containerd|kubepods|lxc", _text("/proc/1/cgroup")):
        return "a container"
    return None


def _processes() -> int | None:
    """The least of RLIMIT_NPROC, which doesn't bind root, and the control group's limit."""
    soft = None if os.geteuid() == 0 else _limit(resource.getrlimit(resource.RLIMIT_NPROC)[0])
    group = _text("/sys/fs/cgroup/pids.max")
    limits = [soft, int(group) if group.isdecimal() else None]
    return min((limit for limit in limits if limit is not None), default=None)


def _memory() -> int | None:
    """The least of the machine's memory and the control group's limit (bytes)."""
    machine = _field("/proc/meminfo", "MemTotal").split()
    group = _text("/sys/fs/cgroup/memory.max")
    limits = [
        int(machine[0]) * 1024 if machine else None,
        int(group) if group.isdecimal() else None,
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value


def _field(path: str, name: str) -> str:
    """The value of a line ``name: value``; empty if there is none."""
    match = re.search(rf"^{name}:\s*(.*?)\s*$", _text(path), re.MULTILINE)
    return match[1] if match else ""


def _text(path: str) -> str:
    """What a file of the kernel's says; empty if it isn't there."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
