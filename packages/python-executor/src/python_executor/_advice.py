"""What to do about a layer of the sandbox that a machine doesn't give, and about what slows it."""

from __future__ import annotations

import errno
from typing import NamedTuple

from python_executor._machine import Machine

# What each ABI of Landlock came with (landlock(7)).
_LANDLOCK_SINCE = "5.13"
_SIGNALS_ABI = 6

_DOCKER = "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined ..."
_PODMAN = "podman run --security-opt seccomp=unconfined --security-opt label=disable ..."
_KUBERNETES = (
    "in the container's securityContext: seccompProfile: {type: Unconfined} and "
    "appArmorProfile: {type: Unconfined}; with hostUsers: false in the pod's spec "
    "they cost the node least"
)
_BOOT = (
    "add landlock to the security modules: `lsm=landlock,` and then what "
    "/sys/kernel/security/lsm lists, on the kernel's command line "
    "(GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub, then reboot)"
)


class Step(NamedTuple):
    """One piece of advice.

    Args:
        what: what is the case, or what to do.
        command: to be typed, or set, as it is; empty if there is nothing to type.
    """

    what: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.command}" if self.command else self.what


def for_missing(layer: str, machine: Machine) -> list[Step]:
    """What to do about a layer that isn't on.

    Args:
        layer: its name.
        machine: where.
    """
    if machine.system != "Linux":
        return [Step("The sandbox is Linux's: run it in a Linux container or virtual machine")]
    steps = _FOR_LAYERS.get(layer)
    return [] if steps is None else steps(machine)


def _capabilities(machine: Machine) -> list[Step]:
    if machine.filtered:
        return [
            Step(
                "A seccomp filter around this process refuses capset(2) or prctl(2), which the "
                "default profiles of Docker, Podman and Kubernetes allow: use those"
            )
        ]
    return [Step("capset(2) or prctl(2) was refused; the detail above says which")]


def _landlock(machine: Machine) -> list[Step]:
    if machine.container == "gVisor":
        return [
            Step(
                "gVisor has no Landlock; it is a sandbox around all programs together. Run the "
                "pool in it with sandbox='auto', or on a host or in runc for this layer"
            )
        ]
    if machine.version < (5, 13):
        return [Step(f"Landlock came with Linux {_LANDLOCK_SINCE}: a newer kernel gives it")]
    if machine.landlock == -errno.EOPNOTSUPP:
        return [Step("The kernel has Landlock, but it was not switched on at boot", _BOOT)]
    steps = []
    if machine.container or machine.filtered:
        steps.append(
            Step(
                "The container's seccomp profile may be older than Landlock: Docker allows it "
                "since 23.0, containerd since 1.6, Podman and CRI-O since the end of 2022. With a "
                "profile of your own, allow landlock_create_ruleset, landlock_add_rule and "
                "landlock_restrict_self"
            )
        )
    steps.append(
        Step(
            "The kernel may be built without it; on the host this must say y",
            "grep CONFIG_SECURITY_LANDLOCK /boot/config-$(uname -r)",
        )
    )
    return steps


def _seccomp(machine: Machine) -> list[Step]:
    if machine.architecture not in ("x86_64", "aarch64"):
        return [
            Step(
                "The list of system calls is that of x86_64 and aarch64: on "
                f"{machine.architecture} run pools in a virtual machine of one of them"
            )
        ]
    return [
        Step(
            "The kernel needs CONFIG_SECCOMP_FILTER, as those of all distributions have it, and a "
            "profile around this process must allow prctl(PR_SET_SECCOMP)"
        )
    ]


def _limits(_: Machine) -> list[Step]:
    return [
        Step("setrlimit(2) was refused: a seccomp profile around this process must allow prlimit64")
    ]


def _namespaces(machine: Machine) -> list[Step]:
    worth = Step(
        "Optional: it takes the network, IPC and the host's mounts out of reach once more, and "
        "gives programs a file system of their own, with the kernel's own limit. Without it "
        "Landlock and seccomp do the former, and the disk is measured every 50 ms"
    )
    if machine.switched_off:
        return [worth, Step("PYTHON_EXECUTOR_NAMESPACES=0 switches it off: unset it")]
    if machine.version < (5, 12):
        return [worth, Step("It takes Linux 5.12 or later (mount_setattr(2))")]
    steps = [worth, *map(_setting, machine.forbidding)]
    by_container = {
        "Docker": Step("To allow it, at the price of a weaker container", _DOCKER),
        "Podman": Step("To allow it, at the price of a weaker container", _PODMAN),
        "Kubernetes": Step("To allow it, at the price of a weaker container", _KUBERNETES),
        "gVisor": Step("gVisor has user namespaces, but not mount_setattr(2)"),
    }
    if machine.container in by_container:
        steps.append(by_container[machine.container])
    elif machine.filtered or machine.container:
        steps.append(
            Step(
                "A seccomp filter around this process refuses unshare(2), mount(2) or "
                "mount_setattr(2): that of the container, or systemd's RestrictNamespaces="
            )
        )
    return steps


def _setting(name: str) -> Step:
    if name == "kernel.apparmor_restrict_unprivileged_userns":
        return Step(
            "AppArmor keeps users from making namespaces (Ubuntu 23.10 and later). Give this "
            "Python a profile in /etc/apparmor.d with the rule `userns,`, or allow it to all, as "
            "root",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    value = "15000" if name.startswith("user.") else "1"
    return Step("The system forbids users to make namespaces. As root", f"sysctl -w {name}={value}")


def _users(machine: Machine) -> list[Step]:
    if machine.user != 0:
        return [
            Step(
                "Optional, and root's alone: each slot then runs as a user of its own. Without it "
                "Landlock and seccomp keep programs apart; there is no need to become root for it"
            )
        ]
    return [
        Step(
            "Optional: each slot then runs as a user of its own. Without it programs run as root "
            "without capabilities, which owns whatever Landlock lets them read"
        )
    ]


_FOR_LAYERS = {
    "capabilities": _capabilities,
    "landlock": _landlock,
    "seccomp": _seccomp,
    "limits": _limits,
    "namespaces": _namespaces,
    "users": _users,
}


def for_present(layer: str, detail: str, machine: Machine) -> list[Step]:
    """What a layer that is on could give more of.

    Args:
        layer: its name.
        detail: what the fork server said of it.
        machine: where.
    """
    if layer == "landlock" and 0 < machine.landlock < _SIGNALS_ABI:
        return [
            Step(
                "Linux 6.12 (ABI 6) would let programs that may start processes signal them; here "
                "a program can signal itself alone"
            )
        ]
    if layer == "namespaces" and "mounts" not in detail:
        why = "Python or a granted path lies below it" if machine.shared_memory else "it is missing"
        return [
            Step(
                f"Programs have no file system of their own, which would lie below /dev/shm: {why}"
            )
        ]
    return []


def for_users(closed: dict[str, str]) -> list[Step]:
    """Why root's slots don't run as users of their own.

    Args:
        closed: what of Python other users can't read, and the right that they lack there.
    """
    if not closed:
        return [
            Step(
                "This root can't become another user, or couldn't watch it: CAP_SETUID, "
                "CAP_SETGID, CAP_CHOWN or CAP_SYS_PTRACE is dropped, as the last is in most "
                "containers, or its user namespace holds one user alone"
            )
        ]
    return [
        Step(
            f"Python can't be read by other users because of {path}: install it and its "
            "environment elsewhere, such as below /opt, or, if nothing in there is private",
            f"chmod o+{right} {path}",
        )
        for path, right in closed.items()
    ]


def for_bytecode(python: str, folder: str) -> list[Step]:
    """What to do about modules that every program compiles anew."""
    return [
        Step(
            "Programs can't write bytecode, so each compiles what it imports from there. Compile "
            "it once",
            f"{python} -m compileall -q -j 0 {folder}",
        ),
        Step("With uv, when it installs", "export UV_COMPILE_BYTECODE=1"),
    ]


def for_threads(names: list[str]) -> Step:
    """What to do about threads in the fork server."""
    return Step(
        f"A forked program has none of them ({', '.join(names)}), and may wait for ever for a lock "
        "that one held. Find the module by preloading one at a time, and leave it out or tell it "
        "not to start threads (most take an environment variable or a setting for it)"
    )


def for_descriptors(wanted: int) -> list[Step]:
    """What to do about a limit of open files that is too low for the pool."""
    return [
        Step("Raise it in the shell that starts the pool", f"ulimit -n {wanted}"),
        Step("In Docker and Podman", f"--ulimit nofile={wanted}:{wanted}"),
        Step("In a systemd unit", f"LimitNOFILE={wanted}"),
    ]


def for_processes(wanted: int) -> list[Step]:
    """What to do about a limit of processes that is too low for the pool."""
    return [
        Step("Raise it in the shell that starts the pool", f"ulimit -u {wanted}"),
        Step("In Docker and Podman", f"--pids-limit {wanted}"),
        Step("In Kubernetes, the kubelet's podPidsLimit"),
    ]


def for_memory(each: int) -> Step:
    """What to do if all programs of a pool together may take more than there is."""
    return Step(
        "If all programs took what they may, the machine would be short of memory. Give each less",
        f"SandboxPolicy(memory={each // 1024**2} * 1024 * 1024)",
    )
