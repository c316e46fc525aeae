"""Run a command with fewer rights than ours, as ordinary users and containers have it.

Usage: `python .ci/confine.py [OPTION ...] COMMAND ...`

- `--user`: as a user that owns nothing and is in no group. Needs root; an ordinary user stays what
  it is.
- `--capabilities container|none`: keep at most those that container engines leave to root, or none.
- `--no-namespaces`: forbid to make and enter namespaces, and to mount, as container engines do
  (the default profile of Docker and containerd): `clone3` doesn't exist, the others answer EPERM.

The rights are lost for good: the command replaces this process, and can't get them back.
"""

import argparse
import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Sequence

# In no user database, as with containers that run under an arbitrary uid; below 65536, so that it
# exists in a container's user namespace; outside what systemd gives away (61184 to 65519). Not
# "nobody": file systems may keep reserved blocks for that one.
UID = 65530

# The capabilities that Docker and containerd leave to root (linux/capability.h).
CONTAINER_CAPABILITIES = {
    "chown": 0,
    "dac_override": 1,
    "fowner": 3,
    "fsetid": 4,
    "kill": 5,
    "setgid": 6,
    "setuid": 7,
    "setpcap": 8,
    "net_bind_service": 10,
    "net_raw": 13,
    "sys_chroot": 18,
    "mknod": 27,
    "audit_write": 29,
    "setfcap": 31,
}

# The numbers of prctl(2) and seccomp(2).
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
ALLOW = 0x7FFF0000
ERRNO = 0x00050000

# What the filter knows of a machine: audit architecture, then the numbers of the calls.
MACHINES = {
    "x86_64": (
        0xC000003E,
        {"clone": 56, "clone3": 435, "mount": 165, "pivot_root": 155, "setns": 308, "unshare": 272},
    ),
    "aarch64": (
        0xC00000B7,
        {"clone": 220, "clone3": 435, "mount": 40, "pivot_root": 41, "setns": 268, "unshare": 97},
    ),
}
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (sched.h).
NEW_NAMESPACES = 0x7E020000

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, *arguments: int) -> int:
    """Make the system call.

    Raises:
        OSError: The kernel refused.
    """
    words = [ctypes.c_ulong(word) for word in (*arguments, 0, 0, 0, 0)[:4]]
    result: int = _libc.prctl(option, *words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}, {arguments}): {os.strerror(number)}")
    return result


def filter_without_namespaces(machine: str) -> bytes:
    """Assemble the seccomp filter for a machine, as `platform.machine()` names it.

    Raises:
        KeyError: The numbers of its system calls aren't known here.
    """
    architecture, numbers = MACHINES[machine]
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06  # BPF_LD, BPF_JMP | JEQ, JSET, BPF_RET

    def answer_if(call: str, number: int) -> list[tuple[int, int, int, int]]:
        return [(equal, 0, 1, numbers[call]), (answer, 0, 0, ERRNO | number)]

    # (code, jump if true, jump if false, operand); seccomp_data: nr 0, arch 4, first argument 16
    program = [
        (load, 0, 0, 4),
        (equal, 1, 0, architecture),
        (answer, 0, 0, ALLOW),
        (load, 0, 0, 0),
        *answer_if("clone3", errno.ENOSYS),
        *(
            instruction
            for call in ("mount", "pivot_root", "setns", "unshare")
            for instruction in answer_if(call, errno.EPERM)
        ),
        (equal, 0, 3, numbers["clone"]),
        (load, 0, 0, 16),
        (any_bit, 0, 1, NEW_NAMESPACES),
        (answer, 0, 0, ERRNO | errno.EPERM),
        (answer, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def forbid_namespaces() -> None:
    """Install the filter; it stays over exec and fork."""
    code = filter_without_namespaces(platform.machine())
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(
        struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))
    )
    address = ctypes.addressof(header)
    try:
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, address)
    except PermissionError:
        # Without CAP_SYS_ADMIN it takes this, which container engines need not set.
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, address)


def keep_capabilities(kept: Iterable[int]) -> None:
    """Drop all others from the bounding set, which is what root has after the next exec."""
    wanted = set(kept)
    number = 0
    while True:
        try:
            present = prctl(PR_CAPBSET_READ, number)
        except OSError:
            return  # the kernel knows no more
        if present and number not in wanted:
            prctl(PR_CAPBSET_DROP, number)
        number += 1


def become_ordinary() -> None:
    """Become the ordinary user, in no group but its own, without any capability."""
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)


def main(words: Sequence[str] | None = None) -> None:
    """Lose the rights that the command line names and become its command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--user", action="store_true")
    parser.add_argument("--capabilities", choices=["container", "none"])
    parser.add_argument("--no-namespaces", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args(words)
    if arguments.no_namespaces:
        forbid_namespaces()
    if arguments.capabilities and os.getuid() == 0:
        container = arguments.capabilities == "container"
        keep_capabilities(CONTAINER_CAPABILITIES.values() if container else ())
    if arguments.user and os.getuid() == 0:
        become_ordinary()
    os.execvp(arguments.command[0], arguments.command)  # noqa: S606


if __name__ == "__main__":
    main()
