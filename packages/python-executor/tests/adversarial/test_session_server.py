"""Cells that go for what sessions have beside a program: their server, its questions, checkpoints."""

from __future__ import annotations

import ast
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from python_executor import SandboxPolicy, _drive, _run
from python_executor._child import cloning, notifications
from python_executor._child.interpreter import PRIVATE

from . import test_filters, test_ways_round
from ._arena import Arena, children_of, until
from ._host import Victim
from ._programs import whole

MIB = 2**20


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """Without namespaces, which have no part in what keeps sessions apart."""
    with Arena(pool_size=4, namespaces=False, interrupt_grace=0.1) as arena:
        yield arena


@pytest.fixture(autouse=True)
def _nothing_left(arena: Arena) -> Iterator[None]:
    """Every test proves that nothing is left of its sessions but what all have: no server either."""
    arena.note()
    yield
    for session in arena.executor.list_sessions():
        arena.executor.close_session(session["session"])
    arena.assert_unharmed()


def cell(arena: Arena, code: str, session: str = "a") -> Any:
    """Run a cell that ends well; return what its last expression told."""
    result = arena.executor.execute(whole(code), session=session)
    assert result["status"] == "ok", result
    return None if result["value"] is None else ast.literal_eval(result["value"])


class Processes:
    """Those of a session that is opened.

    Args:
        arena: where.
        session: its name.
        code: what its cell does beside.

    Attributes:
        server: pid of its server.
        interpreter: pid of what runs its cells.
        checkpoint: pid of what it can go back to.
    """

    def __init__(self, arena: Arena, session: str, code: str = "") -> None:
        look = f"{code}\nx = 1; os.getpid(), os.getppid()"
        self.interpreter, self.server = cell(arena, look, session)
        until(lambda: len(children_of(self.server)) == 2)
        # Stopped: it is known to the server, and stays until the next cell has ended.
        until(lambda: any(states_of(pid) == {"T"} for pid in children_of(self.server)))
        (self.checkpoint,) = set(children_of(self.server)) - {self.interpreter}


def states_of(pid: int) -> set[str]:
    """The states of a process's threads, as a letter each."""
    try:
        paths = Path(f"/proc/{pid}/task").glob("*/stat")
        return {path.read_text().rpartition(")")[2].split()[0] for path in paths}
    except OSError:
        return set()


TARGETS: dict[str, Callable[[Arena, Processes, Processes, int], int]] = {
    "the host": lambda *_: os.getpid(),
    "a stranger": lambda arena, own, other, victim: victim,
    "the root": lambda arena, own, other, victim: arena.root,
    "the server": lambda arena, own, other, victim: own.server,
    "the checkpoint": lambda arena, own, other, victim: own.checkpoint,
    "another session": lambda arena, own, other, victim: other.interpreter,
    "its server": lambda arena, own, other, victim: other.server,
    "its checkpoint": lambda arena, own, other, victim: other.checkpoint,
}
# One cell for all, because the next has another checkpoint beside it.
ATTACK = """
import ast
def run(code):
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, "<attack>", "exec"), globals())
    return eval(compile(last, "<attack>", "eval"), globals())
VICTIM = {victim}
{{name: run(code) for name, code in {codes!r}.items()}}
"""


@pytest.mark.parametrize("target", TARGETS)
def test_no_other_process_is_reached(arena: Arena, victim: Victim, target: str) -> None:
    own, other = Processes(arena, "a"), Processes(arena, "b")
    pid = TARGETS[target](arena, own, other, victim.pid)
    if pid == os.getpid():  # bounded to what does no harm
        codes = {
            name: test_ways_round.ON_OTHERS[name] for name in ("limits, read", "signal to all")
        }
    else:
        codes = test_ways_round.ON_OTHERS
    seen = cell(arena, ATTACK.format(victim=pid, codes=codes))
    refused = test_ways_round.REFUSED | {"ECHILD"}
    assert {name: told for name, told in seen.items() if told not in refused} == {}
    victim.assert_unharmed()
    for session in ("a", "b"):
        assert arena.executor.execute("os._exit(1)", session=session)["status"] == "crashed"
        after = arena.executor.execute("x", session=session)
        assert (after["state"], after["value"]) == ("restored", "1"), session


ROGUE = f"""
import socket, struct, threading, time
PRIVATE = {PRIVATE}
def say(kind, number=2 ** 62, tag=99): os.write(PRIVATE, struct.pack("=cQQ", kind, number, tag))
def ask():
    say(b"c")
    return os.read(PRIVATE, 256)
def clone(flags={cloning.FLAGS}): return call("clone", flags, 0, 0, 0, 0)
def spin():
    while True: pass
def in_child(function): os.register_at_fork(after_in_child=function)
def before(function): os.register_at_fork(before=function)
def pair(said):
    global ends
    ends = socket.socketpair()
    ends[1].send(said)
    os.dup2(ends[0].fileno(), PRIVATE)
"""
ABUSES = {
    "closed": "os.close(PRIVATE)",
    "one half closed": "socket.socket(fileno=os.dup(PRIVATE)).shutdown(socket.SHUT_WR)",
    "other half closed": "socket.socket(fileno=os.dup(PRIVATE)).shutdown(socket.SHUT_RD)",
    "kept elsewhere": "os.dup2(PRIVATE, 99); os.close(PRIVATE)",
    "not blocking": "os.set_blocking(PRIVATE, False)",
    "a device": "os.dup2(os.open('/dev/zero', os.O_RDWR), PRIVATE)",
    "a file": "os.dup2(os.open('f', os.O_RDWR | os.O_CREAT), PRIVATE)",
    "a pipe": "os.dup2(os.pipe()[1], PRIVATE)",
    "the host's": "os.dup2(255, PRIVATE)",
    "a server that agrees": "pair(b'+')",
    "a server that talks": "pair(bytes(range(256)))",
    "a server that is silent": "pair(b'x'); ends[0].recv(1)",
    "part of a message": "os.write(PRIVATE, b'c')",
    "no message": "os.write(PRIVATE, b'x' * 1000)",
    "unknown messages": "for n in range(256): say(bytes([n]))",
    "questions that nobody hears": "for _ in range(99): say(b'c')",
    "all that it takes": (
        "os.set_blocking(PRIVATE, False)\n"
        "while told(say, b'c') is None: pass\nos.set_blocking(PRIVATE, True)"
    ),
    "from a hundred threads": (
        "def go():\n    for _ in range(20): say(b'd', os.getppid())\n"
        "threads = [threading.Thread(target=go) for _ in range(100)]\n"
        "for t in threads: t.start()\nfor t in threads: t.join()"
    ),
    "itself as its copy": "ask(); say(b'd', os.getpid())",
    "its server as its copy": "ask(); say(b'd', os.getppid())",
    "nobody as its copy": "ask(); say(b'd', 0); ask(); say(b'd', 2 ** 64 - 1); ask(); say(b'd', 1)",
    "a copy that was not agreed on": "say(b'd', os.getppid()); say(b'r')",
    "goes on too early": "for _ in range(30): say(b'r')\nos._exit(1)",
    "dies while it is copied": "ask(); os._exit(1)",
    "dies with much unread": "for n in range(99): say(b'cdr'[n % 3 : n % 3 + 1])\nos._exit(1)",
    "a copy for itself": "ask()\nif clone() == 0: spin()",
    "a copy in its group": "ask()\nif clone() == 0: say(b'd', os.getpid()); spin()\nos._exit(1)",
    "a copy that leaves": "ask()\nif clone() == 0: os.setsid(); spin()\nos._exit(1)",
    "a copy that ends": "ask()\nif clone() == 0: os._exit(0)",
    "ends in the copy": "in_child(lambda: os._exit(0))",
    "loops in the copy": "in_child(spin)",
    "stops in the copy": "in_child(lambda: os.kill(os.getpid(), signal.SIGSTOP))",
    "closes all in the copy": "in_child(lambda: os.closerange(0, 300))",
    "lies in the copy": "in_child(lambda: say(b'd', os.getppid()))",
    "threads in the copy": "in_child(lambda: threading.Thread(target=spin, daemon=True).start())",
    "threads just before": "before(lambda: threading.Thread(target=spin, daemon=True).start())",
    "raises just before": "def go(): raise SystemExit\nbefore(go)",
    "says that it begins": 'before(lambda: os.write(255, b\'\\0\\0\\0\\x12{"kind":"started"}\'))',
    "never comes back": "os.register_at_fork(after_in_parent=spin)",
    "asks without end": "in_child(lambda: [os.kill(os.getpid(), 0) for _ in iter(int, 1)])",
}


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less than is usual for what never answers."""
    for module in (_run, _drive):
        monkeypatch.setattr(module, "START_GUARD", 1.0)


@pytest.mark.usefixtures("hasty")
def test_whatever_a_cell_tells_its_server_it_hurts_itself_alone(arena: Arena) -> None:
    arena.executor.execute("x = 1", session="bystander")
    server = cell(arena, "os.getppid()", "bystander")
    restarts = arena.executor.stats()["restarts"]
    # Whom it doesn't suit to end, is replaced with its server: those are no slots of the pool's.
    arena.attack_in_sessions([ROGUE + code for code in ABUSES.values()], apart=True, alone=False)
    assert arena.executor.stats()["restarts"] - restarts < len(ABUSES) / 4
    after = arena.executor.execute("x", session="bystander")
    assert (after["state"], after["value"]) == ("kept", "1")
    assert cell(arena, "os.getppid()", "bystander") == server
    arena.executor.close_session("bystander")
    arena.note()


ASKING = """
import threading
told_to = threading.Event()
def go():
    told_to.wait()
    while True:
        told(os.kill, os.getpid(), 0); told(os.kill, os.getppid(), 0); told(os.sched_getparam, 1)
for _ in range({threads}): threading.Thread(target=go, daemon=True).start()
told_to.set()
"""


def test_questions_from_a_hundred_threads_keep_nobody_waiting(arena: Arena) -> None:
    execute = arena.executor.execute
    execute("x = 1", session="bystander")
    with ThreadPoolExecutor(1) as threads:
        code = whole(f"{ASKING.format(threads=100)}\nlibc.pause()")
        running = threads.submit(execute, code, session="a", timeout=1.0)
        until(lambda: any(each["running"] for each in arena.executor.list_sessions()))
        while not running.done():
            result = execute("x", session="bystander")
            assert (result["state"], result["value"], result["unprotected"]) == ("kept", "1", None)
            assert execute("1 + 1")["value"] == "2"
        assert running.result()["status"] == "timeout"
    cell(arena, ASKING.format(threads=4), "b")  # these go on while it is parked
    assert execute("6 * 7", session="b")["value"] == "42"
    assert execute("os._exit(1)", session="b")["status"] == "crashed"
    assert execute("1", session="b")["state"] == "lost"


def test_who_listens_for_questions_does_not_wait_where_none_is() -> None:
    """A listener whose processes are gone is as ready as one with a question (before 6.11)."""
    nothing = os.eventfd(0)
    try:
        assert notifications.receive(nothing) is None
    finally:
        os.close(nothing)


# What a copy tells, the next cell reads: whole, although the next copy may be telling it again.
TELL = """
def tell(what):
    with open("telling", "w") as file: file.write(repr(what))
    os.rename("telling", "told")
"""


def told_by_woken(arena: Arena) -> str:
    """What a copy tells that has gone on: Python code runs there only then."""
    assert arena.executor.execute("os._exit(1)", session="a")["status"] == "crashed"
    until(lambda: bool(cell(arena, "os.path.exists('told')")))
    return str(cell(arena, "open('told').read()"))


def test_code_of_a_cell_that_runs_in_a_copy_is_in_the_sandbox_as_well(arena: Arena) -> None:
    cell(
        arena,
        f"{TELL}\nstill = lambda: {test_filters.STILL.strip()}\n"
        "os.register_at_fork(after_in_child=lambda: tell(still()))",
    )
    assert set(ast.literal_eval(told_by_woken(arena))) <= test_filters.REFUSED | {"ENOENT"}


def test_a_checkpoint_can_not_wake_itself_up(arena: Arena) -> None:
    # struct sigevent: SIGCONT, as a signal. Of those that the kernel sends by itself, no other does.
    code = f"""{TELL}
ask()
if clone() == 0:
    event = (ctypes.c_int * 16)(0, 0, int(signal.SIGCONT), 0)
    tell(call("timer_create", 1, event, ctypes.byref(ctypes.c_int())))
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    os.setsid(); say(b"d", 1); spin()
while not os.path.exists("told"): time.sleep(0.001)
print(open("told").read(), flush=True)
libc.pause()
"""
    own = Processes(arena, "a")

    def copies() -> list[int]:
        return [pid for pid in children_of(own.server) if pid != own.interpreter]

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(arena.executor.execute, whole(ROGUE + code), session="a")
        until(lambda: len(copies()) == 1 and own.checkpoint not in copies())
        until(lambda: [states_of(pid) for pid in copies()] == [{"T"}])
        for _ in range(20):
            time.sleep(0.005)
            assert [states_of(pid) for pid in copies()] == [{"T"}]
        os.kill(own.interpreter, 9)
        assert running.result()["status"] == "crashed"
    assert running.result()["stdout"] == "'EPERM'\n"


def test_a_copy_gets_no_more_memory_than_a_program() -> None:
    policy = SandboxPolicy(memory=64 * MIB, strict=True)
    code = f"""{TELL}
def go():
    try: taken = [bytes({MIB}) for _ in range(128)]
    except MemoryError: taken = None
    tell(taken and len(taken))
os.register_at_fork(after_in_child=go)
"""
    with Arena(sandbox=policy) as arena:
        cell(arena, code)
        assert told_by_woken(arena) == "None"
        arena.executor.close_session("a")
        arena.assert_unharmed()


def test_sessions_that_die_with_their_server_leave_no_process(arena: Arena) -> None:
    processes = Processes(arena, "a")
    # One that the server has not been told of, and that has asked for no signal at its end.
    code = "ask()\nif clone() == 0: os.setsid(); spin()\nos.kill(os.getpid(), 0)"
    arena.executor.execute(whole(ROGUE + code), session="a")
    os.kill(processes.server, 9)
    until(lambda: processes.server not in arena.servers)
    assert arena.executor.execute("1", session="a")["state"] == "lost"
    arena.executor.close_session("a")
    arena.note()  # it was replaced
