"""Processes and threads: without end, where none may be, and those that want to survive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from python_executor import SandboxPolicy

from ._arena import Arena, until

# No attack starts more than this many.
BOMB = 100
ALLOWED = 8

NONE = {
    "fork": "told(os.fork)",
    "fork with terminal": "told(os.forkpty)",
    "fork in C": "errno.errorcode[ctypes.get_errno()] if libc.fork() < 0 else 'forked'",
    "fork by system call": "call('clone', 17, 0, 0, 0, 0)",
    "vfork by system call": "call('clone', 0x4111, 0, 0, 0, 0)",
    "clone3": "call('clone3', (ctypes.c_uint64 * 11)(), 88)",
    "clone with namespaces": "call('clone', 0x10000000 | 17, 0, 0, 0, 0)",
    "clone of memory alone": "call('clone', 0x100 | 17, 0, 0, 0, 0)",
    "clone as a sibling": "call('clone', 0x8000 | 17, 0, 0, 0, 0)",
    "spawn": "told(os.posix_spawn, sys.executable, ['python'], {})",
    "spawn in C": (
        "p, arguments = ctypes.c_int(), (ctypes.c_char_p * 2)(b'true')\n"
        "errno.errorcode[libc.posix_spawn(ctypes.byref(p), b'/bin/true', 0, 0, arguments, arguments)]"
    ),
    "subprocess": "told(__import__('subprocess').run, [sys.executable, '-c', '1'])",
    "shell": "told(__import__('subprocess').run, 'true', shell=True)",
    "system": "'EPERM' if os.system('true') else 'ran'",
    "popen": "told(lambda: os.popen('true').read())",
    "multiprocessing, fork": (
        "import multiprocessing as m\ntold(m.get_context('fork').Process(target=print).start)"
    ),
    "multiprocessing, spawn": (
        "import multiprocessing as m\ntold(m.get_context('spawn').Process(target=print).start)"
    ),
    "multiprocessing, pool": "import multiprocessing as m\ntold(m.Pool, 2)",
    "multiprocessing, manager": "import multiprocessing as m\ntold(m.Manager)",
    "process pool": (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "told(lambda: ProcessPoolExecutor(2).submit(print).result())"
    ),
    "asyncio": (
        "import asyncio\ntold(lambda: asyncio.run(asyncio.create_subprocess_exec('true')))"
    ),
    "exec": "told(os.execv, '/bin/true', ['true'])",
    "exec of Python": "told(os.execv, sys.executable, ['python', '-c', '1'])",
    "exec of itself": "told(os.execv, '/proc/self/exe', ['python'])",
    "exec of an own script": (
        "open('x', 'w').write('#!/bin/sh\\n'); os.chmod('x', 0o755); told(os.execv, './x', ['x'])"
    ),
    "exec by descriptor": ("told(os.execve, os.open('/bin/true', os.O_RDONLY), ['true'], {})"),
    "exec by system call": "call('execveat', os.open('/bin/true', 0), b'', 0, 0, 0x1000)",
}


@pytest.mark.parametrize("name", NONE)
def test_no_process_can_be_started(arena: Arena, name: str) -> None:
    seen = arena.seen(NONE[name])
    assert seen in ("EPERM", "EACCES", "ENOSYS", "ENOENT"), seen


def test_a_fork_bomb_does_not_go_off(arena: Arena) -> None:
    code = f"""
born = 0
for _ in range({BOMB}):
    try:
        if os.fork() == 0: os._exit(0)
        born += 1
    except OSError: pass
born
"""
    assert arena.seen(code) == 0


def test_a_thread_bomb_hurts_the_program_alone(arena: Arena) -> None:
    code = """
import threading
held = threading.Event()
born = 0
try:
    while born < 3000: threading.Thread(target=held.wait, daemon=True).start(); born += 1
except RuntimeError: pass
held.set()
born
"""
    result = arena.attack(code)
    assert result["status"] in ("ok", "memory", "error")
    assert int(result["value"] or 0) < 3000


def test_threads_with_tiny_stacks_are_counted_too(arena: Arena) -> None:
    # 30,000 of them fit into a gigabyte, and the kernel keeps some 30 KiB for each.
    code = """
import threading, time
threading.stack_size(32768)
held = threading.Event()
born = 0
try:
    while born < 3000: threading.Thread(target=held.wait, daemon=True).start(); born += 1
    time.sleep(2)
except RuntimeError: pass
held.set()
born
"""
    result = arena.attack(code)
    assert result["status"] in ("ok", "memory", "error", "crashed")
    assert int(result["value"] or 0) < 3000


@pytest.fixture(scope="module")
def open_arena() -> Iterator[Arena]:
    """Where programs may start processes."""
    with Arena(sandbox=SandboxPolicy(processes=ALLOWED, strict=True)) as arena:
        yield arena


def test_processes_that_are_allowed_work(open_arena: Arena) -> None:
    code = """
import subprocess
ran = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True)
ran.returncode, ran.stdout, os.waitstatus_to_exitcode(os.system("exit 3"))
"""
    assert open_arena.seen(code) == (0, "42\n", 3)


def test_a_fork_bomb_is_bounded(open_arena: Arena) -> None:
    code = f"""
import time
born = 0
for _ in range({BOMB}):
    try:
        if os.fork() == 0: time.sleep(1000)
        born += 1
        time.sleep(0.005)  # a quick machine makes all of them before the watchdog first looks
    except OSError: break
print(born, flush=True)
time.sleep(0.5)
"""
    result = open_arena.attack(code, timeout=2)
    assert result["status"] in ("ok", "memory", "crashed", "timeout", "error")
    if result["stdout"]:
        assert int(result["stdout"]) < BOMB


def test_a_tree_of_processes_is_gone_with_its_program(open_arena: Arena) -> None:
    code = """
import time
for _ in range(3):
    try: os.fork()
    except OSError: break
time.sleep(1000)
"""
    assert open_arena.attack(code, timeout=0.5)["status"] in ("timeout", "memory", "crashed")


SURVIVOR = """
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid() if os.getpid() != os.getsid(0) else None
        told(os.setpgid, 0, 0)
        os.write(write, b"x")
        while True:
            open("left", "a").write("x")
            told(os.write, 1, b"y")
    os._exit(0)
os.read(read, 1)
"""


@pytest.mark.parametrize("end", ["42", "libc.pause()", "os._exit(0)", "1 / 0", "os.abort()"])
def test_a_double_fork_that_keeps_writing_is_gone(open_arena: Arena, end: str) -> None:
    result = open_arena.attack(SURVIVOR + end, timeout=0.4)
    expected = {"42": "ok", "libc.pause()": "timeout", "1 / 0": "error"}.get(end, "crashed")
    assert result["status"] == expected


def test_a_process_that_outruns_its_killers_is_gone(open_arena: Arena) -> None:
    # Each dies right after it forked the next, in a session of its own.
    code = """
def run():
    while True:
        try:
            if os.fork(): os._exit(0)
            told(os.setsid)
        except OSError: pass
if os.fork() == 0: run()
import time; time.sleep(0.1)
"""
    assert open_arena.attack(code, timeout=2)["status"] in ("ok", "memory")


def test_children_are_in_the_sandbox_too(open_arena: Arena, tmp_path: Path) -> None:
    code = f"""
import subprocess
inner = '''
import os, socket
def told(f, *a):
    try: return str(f(*a))
    except OSError as e: return e.errno in (1, 13, 30)
print([told(open, "/etc/shadow"), told(open, {str(tmp_path)!r} + "/x", "w"), told(socket.socket),
       told(os.kill, {{}}, 0), told(os.listdir, "/proc/self"), told(os.listdir, "/tmp")])
'''
out = subprocess.run([sys.executable, "-c", inner.format(os.getppid())], capture_output=True, text=True)
out.stdout or out.stderr
"""
    assert open_arena.seen(code).strip() == str([True] * 6)


def test_set_user_id_programs_gain_nothing(open_arena: Arena) -> None:
    code = """
import subprocess
found = [p for p in ("/bin/su", "/bin/mount", "/usr/bin/passwd", "/usr/bin/sudo") if os.path.exists(p)]
if os.fork() == 0:
    open("uid", "w").write(str(os.getresuid()))
    os._exit(0)
os.wait()
open("uid").read() == str(os.getresuid()), call("prctl" if "prctl" in NUMBERS else 157, 39, 0, 0, 0, 0)
"""
    assert open_arena.seen(code) == (True, 1)


def test_signals_reach_no_further_than_the_own_processes(open_arena: Arena) -> None:
    code = """
parent = os.getppid()
results = [told(os.kill, parent, n) for n in (0, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)]
results + [told(os.killpg, os.getpgid(0), 0), told(os.kill, 1, 0)]
"""
    assert open_arena.seen(code) == ["EPERM"] * 4 + [None, "EPERM"]


def test_a_kill_of_everything_takes_the_own_processes_alone(open_arena: Arena) -> None:
    result = open_arena.attack("told(os.kill, -1, signal.SIGKILL)\n'lived'")
    assert result["status"] in ("ok", "crashed")
    until(lambda: open_arena.executor.stats()["idle"] == 2)
