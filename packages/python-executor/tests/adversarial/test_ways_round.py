"""What reached the host although files and sockets were closed: each way that was ever found.

With Landlock, no capabilities and no ``socket()``, these still changed limits, modes and schedules
of the host's, sent datagrams and signals, or kept a program alive beyond its server.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ._arena import VARIANTS, Arena, descendants_of, until
from ._host import Hoard, Victim


@pytest.fixture(scope="module", params=VARIANTS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    with Arena(namespaces=request.param) as arena:
        yield arena


REFUSED = {"EPERM", "ENOSYS", "EACCES"}


LIMITS = "(ctypes.c_uint64 * 2)(10, 10)"
ON_OTHERS = {
    "limits": f"call('prlimit64', VICTIM, 7, ctypes.byref({LIMITS}), 0)",
    "limits, read": f"call('prlimit64', VICTIM, 7, 0, ctypes.byref({LIMITS}))",
    "limits by Python": "import resource\ntold(resource.prlimit, VICTIM, resource.RLIMIT_NOFILE, (9, 9))",
    "processors": "told(os.sched_setaffinity, VICTIM, {0})",
    "scheduler": "told(os.sched_setscheduler, VICTIM, os.SCHED_BATCH, os.sched_param(0))",
    "scheduler parameters": "told(os.sched_setparam, VICTIM, os.sched_param(0))",
    "scheduler attributes": (
        "call('sched_setattr', VICTIM, (ctypes.c_uint32 * 14)(56, 3, 0, 0, 10), 0)"
    ),
    "priority": "told(os.setpriority, os.PRIO_PROCESS, VICTIM, 5)",
    "priority of the group": "told(os.setpriority, os.PRIO_PGRP, VICTIM, 5)",
    "priority of the user": "told(os.setpriority, os.PRIO_USER, os.getuid(), 5)",
    "priority of all": "told(os.setpriority, os.PRIO_USER, 0, 5)",
    "input and output": "call('ioprio_set', 1, VICTIM, 3 << 13)",
    "input and output of the user": "call('ioprio_set', 3, os.getuid(), 3 << 13)",
    "group": "told(os.setpgid, VICTIM, VICTIM)",
    "signal": "told(os.kill, VICTIM, signal.SIGTERM)",
    "signal to the group": "told(os.killpg, VICTIM, signal.SIGTERM)",
    "signal to all": "told(os.kill, -1, signal.SIGWINCH)",
    "signal to the thread": "call('tkill', VICTIM, signal.SIGTERM)",
    "signal to the thread of": "call('tgkill', VICTIM, VICTIM, signal.SIGTERM)",
    "signal with information": (
        "call('rt_sigqueueinfo', VICTIM, signal.SIGTERM, (ctypes.c_int * 32)(15, 0, -1))"
    ),
    "signal with information to the thread": (
        "call('rt_tgsigqueueinfo', VICTIM, VICTIM, signal.SIGTERM, (ctypes.c_int * 32)(15, 0, -1))"
    ),
    "signal by descriptor": (
        "fd = call('pidfd_open', VICTIM, 0)\n"
        "fd if isinstance(fd, str) else call('pidfd_send_signal', fd, signal.SIGTERM, 0, 0)"
    ),
    "signal by the folder of a process": (
        "fd = told(os.open, f'/proc/{VICTIM}', os.O_RDONLY)\n"
        "fd if isinstance(fd, str) else call('pidfd_send_signal', fd, signal.SIGTERM, 0, 0)"
    ),
    "signal when readable": """
import fcntl
r, w = os.pipe()
got = [
    call("fcntl", r, 8, VICTIM), call("fcntl", r, 10, int(signal.SIGTERM)),
    call("fcntl", r, 15, ctypes.byref((ctypes.c_int * 2)(1, VICTIM))), call("fcntl", r, 4, 0x2000),
    call("ioctl", r, 0x8901, ctypes.byref(ctypes.c_int(VICTIM))),
    call("ioctl", r, 0x8902, ctypes.byref(ctypes.c_int(VICTIM))),
    call("ioctl", r, 0x5452, ctypes.byref(ctypes.c_int(1))),
]
os.write(w, b"x")
"EPERM" if set(got) <= {"EPERM", "ENOTTY"} else got
""",
    "signal when the protocol's socket is readable": """
got = [
    call("fcntl", control(), 8, VICTIM), call("fcntl", control(), 10, int(signal.SIGTERM)),
    call("fcntl", control(), 4, 0x2000),
    call("ioctl", control(), 0x8901, ctypes.byref(ctypes.c_int(VICTIM))),
    call("ioctl", control(), 0x5452, ctypes.byref(ctypes.c_int(1))),
]
"EPERM" if set(got) <= {"EPERM", "ENOTTY"} else got
""",
    "lease with a signal": "call('fcntl', os.open('x', os.O_CREAT | os.O_RDWR), 1024, 1)",
    "folder that is watched": "call('fcntl', os.open('.', 0), 1026, 0x8000003f)",
    "timer that signals a thread": """
event = (ctypes.c_int * 16)(0, 0, int(signal.SIGTERM), 4, VICTIM)
made = call("timer_create", 1, event, ctypes.byref(ctypes.c_int()))
"EPERM" if made == "EINVAL" else made
""",
    "death of a parent": "'EPERM' if libc.prctl(1, 15, 0, 0, 0) else 'set'",
    "accounts of a child": "told(os.waitpid, VICTIM, os.WNOHANG)",
}


@pytest.mark.parametrize("name", ON_OTHERS)
def test_no_process_of_the_host_is_reached(arena: Arena, victim: Victim, name: str) -> None:
    seen = arena.seen(f"VICTIM = {victim.pid}\n{ON_OTHERS[name]}")
    victim.assert_unharmed()
    assert seen in REFUSED | {"ECHILD"}


@pytest.mark.parametrize("name", ON_OTHERS)
def test_no_server_of_the_pool_is_reached(arena: Arena, name: str) -> None:
    # The arena sees that the same servers go on; every call is bounded to what does no harm.
    root, servers = arena.root, arena.servers
    for pid in (root, servers[0]):
        seen = arena.seen(f"VICTIM = {pid}\n{ON_OTHERS[name]}")
        assert seen in REFUSED | {"ECHILD"}
    assert (arena.root, arena.servers) == (root, servers)
    assert arena.executor.stats()["restarts"] == 0


ON_FILES = {
    "chmod": "[told(os.chmod, p, 0) for p in paths]",
    "chmod by descriptor": "[told(os.fchmod, os.open(p, os.O_PATH), 0) for p in paths]",
    "chown": "[told(os.chown, p, os.getuid(), os.getgid()) for p in paths]",
    "chown to others": "[told(os.chown, p, 12345, 12345) for p in paths]",
    "lchown": "[told(os.lchown, p, 12345, 12345) for p in paths]",
    "chown by descriptor": "[call('fchownat', os.open(p, os.O_PATH), b'', 1, 1, 0x1000) for p in paths]",
    "setxattr": "[told(os.setxattr, p, 'user.x', b'x') for p in paths]",
    "lsetxattr": "[told(os.setxattr, p, 'user.x', b'x', follow_symlinks=False) for p in paths]",
    "setxattrat": "[call('setxattrat', -100, p.encode(), 0, b'user.x', (ctypes.c_uint64 * 2)(), 16) for p in paths]",
    "removexattr": "[told(os.removexattr, p, 'user.x') for p in paths]",
    "utime": "[told(os.utime, p, (1, 1)) for p in paths]",
    "utimensat of a descriptor": "[call('utimensat', os.open(p, os.O_PATH), 0, 0, 0) for p in paths]",
    "attributes": "[call('ioctl', os.open(p, os.O_PATH), 0x40086602, ctypes.byref(ctypes.c_long(16))) for p in paths]",
    "reading that marks": "[told(os.open, p, os.O_RDONLY) for p in paths]",
    "lock": "import fcntl\n[told(lambda: fcntl.flock(os.open(p, os.O_RDONLY), 2)) for p in paths]",
}


@pytest.mark.parametrize("name", ON_FILES)
def test_no_file_of_the_host_is_changed(arena: Arena, hoard: Hoard, name: str) -> None:
    paths = [str(hoard.path / "secret"), str(hoard.path), str(hoard.path / "folder")]
    seen = arena.seen(f"paths = {paths!r}\n{ON_FILES[name]}")
    hoard.assert_unharmed()
    # Those of mode and time say that they did it.
    assert set(seen) <= REFUSED | {None, 0, "EBADF", "ENOTTY"}


def test_no_datagram_reaches_a_socket_of_the_hosts(arena: Arena, hoard: Hoard) -> None:
    path = str(hoard.path.with_name(hoard.path.name + ".socket"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(path)
        Path(path).chmod(0o777)
        service.setblocking(False)
        code = f"""
import socket
def pair(kind): return told(socket.socketpair, socket.AF_UNIX, kind)
got = []
for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    ends = pair(kind)
    got.append(ends if isinstance(ends, str) else told(ends[0].sendto, b"x", {path!r}))
    if not isinstance(ends, str): got.append(told(ends[0].sendmsg, [b"x"], [], 0, {path!r}))
got
"""
        seen = arena.seen(code)
        with pytest.raises(BlockingIOError):
            service.recv(9)
    Path(path).unlink()
    assert set(seen) <= REFUSED | {"EISCONN", "EOPNOTSUPP", "ESOCKTNOSUPPORT"}


LEFT = {
    "shared memory": "call('shmget', 0x5ee7, 4096, 0o1777)",
    "semaphore": "call('semget', 0x5ee7, 1, 0o1777)",
    "message queue": "call('msgget', 0x5ee7, 0o1777)",
    "POSIX queue": "call('mq_open', b'python-executor', 0o102, 0o777, 0)",
    "POSIX shared memory": (
        "told(lambda: __import__('multiprocessing.shared_memory', fromlist=['x'])"
        ".SharedMemory('python-executor', True, 99))"
    ),
    # By the C library: multiprocessing's own is replaced by one for threads.
    "POSIX semaphore": (
        "libc.sem_open.restype = ctypes.c_void_p\n"
        "opened = libc.sem_open(b'/python-executor', os.O_CREAT, 0o600, 1)\n"
        "'opened' if opened else errno.errorcode[ctypes.get_errno()]"
    ),
    "memory file": "told(os.memfd_create, 'x')",
    "secret memory": "call('memfd_secret', 0)",
    "keyring": "call('add_key', b'user', b'python-executor', b'x', 1, -4)",
    "inotify": "call('inotify_init1', 0)",
    "fanotify": "call('fanotify_init', 0, 0)",
    "executable memory file": (
        "fd = told(os.memfd_create, 'x')\nfd if isinstance(fd, str) else told(os.execve, fd, ['x'], {})"
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_nothing_is_left_in_the_kernel(arena: Arena, name: str) -> None:
    assert arena.seen(LEFT[name]) in REFUSED
    for folder in ("/dev/shm", "/dev/mqueue"):
        assert not list(Path(folder).glob("*python-executor*"))


def test_a_program_dies_with_its_server_whatever_it_asked_for(arena: Arena) -> None:
    code = (
        "import ctypes, time\nlibc = ctypes.CDLL(None)\n"
        "print(libc.prctl(1, 0, 0, 0, 0), libc.prctl(36, 1, 0, 0, 0), flush=True)\n"
        "open('begun', 'w').close()\ntime.sleep(1000)"
    )
    results: list[object] = []
    caller = threading.Thread(target=lambda: results.append(arena.executor.execute(code)))
    caller.start()
    until(lambda: bool(list(arena.directory.glob("*/*/begun"))))
    servers = arena.servers
    before = {server: descendants_of(server) for server in servers}
    for server in servers:
        os.kill(server, signal.SIGKILL)
    caller.join()
    until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pids in before.values() for pid in pids)
    )
    assert isinstance(results[0], dict)
    assert (results[0]["status"], results[0]["stdout"]) == ("crashed", "-1 -1\n")
    arena.executor.execute_batch(["1"] * 4)
    arena.note()  # servers were replaced
    arena.assert_unharmed()
