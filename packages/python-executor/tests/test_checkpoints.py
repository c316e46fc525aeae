"""Sessions whose processes die go back to what was before the cell."""

from __future__ import annotations

import ast
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from textwrap import dedent
from typing import Literal

import pytest

from python_executor import Execution, PythonExecutorService, SandboxPolicy

Until = Callable[[Callable[[], bool]], None]
Lend = Callable[..., AbstractContextManager[PythonExecutorService]]
Alive = Callable[[int], bool]


@pytest.fixture(params=["strict", "off"])
def pool(request: pytest.FixtureRequest, lend: Lend) -> Iterator[PythonExecutorService]:
    sandbox: Literal["strict", "off"] = request.param
    with lend(
        pool_size=2, timeout=30.0, interrupt_grace=0.2, max_total_output=2**21, sandbox=sandbox
    ) as pool:
        yield pool


WAYS = {
    "exit": ("import os; os._exit(3)", "crashed"),
    "kill": ("import os; os.kill(os.getpid(), 9)", "crashed"),
    "abort": ("import os; os.abort()", "crashed"),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", "crashed"),
    "flood": ("print('x' * 2**23)", "output"),
    "broken protocol": ("import os; os.write(255, b'x' * 100)", "crashed"),
    "closed descriptors": ("import os; os.closerange(0, 256)", "crashed"),
    "timeout": ("import signal; signal.signal(2, signal.SIG_IGN)\nwhile True: pass", "timeout"),
}


def test_checkpoints_of_a_crowd_wait_and_are_there_when_they_are_needed(
    pool: PythonExecutorService,
) -> None:
    crowd = [f"c{number}" for number in range(40)]

    def execute(code: str) -> list[tuple[str, str | None]]:
        results = pool.execute_batch([Execution(code, session=name) for name in crowd])
        return [(result["state"], result["value"]) for result in results]

    execute("x = 1; y = 1")
    assert execute("x += 1; x") == [("kept", "2")] * 40  # at once, before they could be made
    assert execute("y = 2; import os; os._exit(1)") == [("kept", None)] * 40
    assert execute("x, y") == [("restored", "(2, 1)")] * 40


@pytest.mark.parametrize("way", WAYS)
def test_a_session_goes_back_to_what_was_before_the_cell(
    pool: PythonExecutorService, way: str
) -> None:
    code, status = WAYS[way]
    pool.execute("import os; x = 1; os.mkdir('d'); os.chdir('d')", session="a")
    pool.execute("x = 1", session="b")
    timeout = 1.0 if status == "timeout" else 30.0
    failed = pool.execute(f"x = 2\nos.chdir('/')\n{code}", session="a", timeout=timeout)
    assert (failed["state"], failed["status"], failed["unprotected"]) == ("kept", status, None)
    after = pool.execute("x, os.path.basename(os.getcwd())", session="a")
    assert (after["state"], after["value"], after["stdout"]) == ("restored", "(1, 'd')", "")
    assert pool.execute("x = 3; x", session="a")["state"] == "kept"
    other = pool.execute("x", session="b")
    assert (other["state"], other["value"]) == ("kept", "1")


def test_it_can_do_so_again_and_again(pool: PythonExecutorService) -> None:
    pool.execute("import os; n = 0", session="a")
    for number in range(8):
        kept = pool.execute("n += 1; n", session="a")
        assert (kept["value"], kept["unprotected"]) == (str(number + 1), None)
        for _ in range(2):
            pool.execute("n = 99; os._exit(1)", session="a")
            assert pool.execute("n", session="a")["state"] == "restored"


def test_random_numbers_and_open_files_go_on_from_where_they_were(
    pool: PythonExecutorService,
) -> None:
    expected = random.Random(5)
    pool.execute(
        "import os, random; random.seed(5)\n"
        "f = open('f', 'w+'); f.write('abcdef'); f.flush()\n"
        "f.seek(0); d = f.fileno(); os.read(d, 1)",
        session="a",
    )
    for piece in (b"bc", b"de"):
        pool.execute("random.random(); os.read(d, 99); os._exit(1)", session="a")
        after = pool.execute("random.random(), os.read(d, 2)", session="a")
        assert after["value"] == repr((expected.random(), piece))
        assert after["state"] == "restored"


def test_a_parked_session_that_is_killed_has_lost_nothing(
    pool: PythonExecutorService, until: Until, alive: Alive
) -> None:
    pid, server = opened(pool)
    until(lambda: len(children_of(server)) == 2)
    before = children_of(server)
    pool.execute("x = 2", session="a")
    until(lambda: len(children_of(server)) == 2 and children_of(server) != before)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    after = pool.execute("x", session="a")
    assert (after["state"], after["value"]) == ("restored", "2")


def opened(pool: PythonExecutorService) -> tuple[int, int]:
    """Open a session; returns its process and its server."""
    value = pool.execute("import os; os.getpid(), os.getppid()", session="a")["value"]
    assert value is not None
    pid, server = map(int, value.strip("()").split(","))
    return pid, server


def children_of(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def test_a_session_that_is_killed_just_when_it_is_needed_has_lost_nothing(
    strict: PythonExecutorService,
) -> None:
    """The call may be on its way, before anybody has noticed."""
    states = []
    for number in range(20):
        code = "import os, time; n = globals().get('n', 0) + 1; time.sleep(0.001); n, os.getpid()"
        value = strict.execute(code, session="a")["value"]
        assert value is not None
        n, pid = map(int, value.strip("()").split(","))
        time.sleep(0.03)  # usually, not surely, the checkpoint is there by then
        os.kill(pid, signal.SIGKILL)
        after = strict.execute("n", session="a")
        if after["status"] == "crashed":
            after = strict.execute("n", session="a")
        states.append(after["state"])
        if states[-1] == "restored":
            assert after["value"] == str(n), number
    assert set(states) <= {"restored", "lost"}
    assert states.count("restored") > 10, states


def test_there_is_one_checkpoint_at_a_time(pool: PythonExecutorService, until: Until) -> None:
    _, server = opened(pool)
    for _ in range(20):
        pool.execute("x = 1", session="a")
    until(lambda: len(children_of(server)) == 2)
    pool.close_session("a")
    until(lambda: children_of(server) == [])


def test_a_restored_process_is_as_good_as_any(strict: PythonExecutorService) -> None:
    """Pids that filters know are not its own any more."""
    strict.execute("import os, signal, threading, resource, time", session="a")
    strict.execute("os._exit(1)", session="a")
    checks = {
        "got = []; signal.signal(10, lambda *_: got.append(1)); os.kill(os.getpid(), 10); got": (
            "[1]"
        ),
        "signal.raise_signal(10); got": "[1, 1]",
        "resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE)[0] > 0": "True",
        "t = threading.Thread(target=got.append, args=(2,)); t.start(); t.join(); got[-1]": "2",
        "os.getpgrp() == os.getpid() == os.getsid(0)": "True",
        "threading.get_native_id() == os.getpid()": "True",
    }
    for code, value in checks.items():
        result = strict.execute(code, session="a")
        assert result["value"] == value, (code, result)
    timeout = strict.execute("time.sleep(1000)", session="a", timeout=0.1)
    assert (timeout["status"], timeout["returncode"]) == ("timeout", -2)


def test_what_a_copy_cannot_have_leaves_the_next_cell_without_one(
    strict: PythonExecutorService,
) -> None:
    thread = "import os, threading; e = threading.Event(); threading.Thread(target=e.wait).start()"
    strict.execute(thread, session="a")
    without = strict.execute("x = 1", session="a")
    assert without["unprotected"] == "another thread runs"
    crashed = strict.execute("os._exit(1)", session="a")
    assert crashed["unprotected"] == "another thread runs"
    assert strict.execute("'x' in globals()", session="a")["state"] == "lost"
    strict.execute(thread, session="b")
    strict.execute("x = 1; e.set(); [t.join() for t in threading.enumerate()[1:]]", session="b")
    assert strict.execute("os._exit(1)", session="b")["unprotected"] is None
    assert strict.execute("x", session="b")["state"] == "restored"


def test_child_processes_and_orphans_leave_the_next_cell_without_one(until: Until) -> None:
    policy = SandboxPolicy.with_processes(processes=50)
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as pool:
        child = "import os, signal, time\np = os.fork()\nif p == 0: time.sleep(1000)"
        _, server = opened(pool)
        pool.execute(child, session="a")
        assert pool.execute("1", session="a")["unprotected"] == "it has child processes"
        pool.execute("os.kill(p, 9); os.waitpid(p, 0)", session="a")
        assert pool.execute("1", session="a")["unprotected"] is None
        orphan = "if os.fork() == 0:\n    if os.fork() == 0: time.sleep(1000)\n    os._exit(0)"
        orphan += "\nos.wait()"
        pool.execute(orphan, session="a")
        assert pool.execute("1", session="a")["unprotected"] == "it has child processes"
        pool.close_session("a")
        until(lambda: children_of(server) == [])


@pytest.mark.load
def test_an_orphan_of_the_next_cell_outlives_the_clearing_up_after_a_checkpoint() -> None:
    policy = SandboxPolicy.with_processes(processes=50)
    memory = "import os, time; x = bytearray(os.urandom(1024)) * (60 * 1024)"
    copied = "x[::4096] = bytes(len(x[::4096]))"  # so that ending a checkpoint takes a while
    orphan = """
        r, w = os.pipe()
        if os.fork() == 0:
            p = os.fork()
            if p == 0: time.sleep(1000)
            os.write(w, str(p).encode())
            os._exit(0)
        _ = os.wait()
        p = int(os.read(r, 100))
        os.close(r)
        os.close(w)
    """
    with PythonExecutorService(pool_size=1, sandbox=policy, checkpoint=True) as pool:
        pool.execute(memory, session="a")
        for _ in range(40):
            pool.execute(copied, session="a")
            assert pool.execute(dedent(orphan), session="a")["unprotected"] is None
            ended = pool.execute("os.kill(p, 9)", session="a")
            assert ended["unprotected"] == "it has child processes"
            assert ended["success"], ended["stderr"]


def test_too_much_memory_leaves_the_next_cell_without_one_unless_it_is_insisted_on() -> None:
    code = "import os; x = bytearray(os.urandom(1024)) * (80 * 1024)"
    with PythonExecutorService(pool_size=1) as pool:
        pool.execute(code, session="a")
        unprotected = pool.execute("len(x)", session="a")["unprotected"]
        assert unprotected is not None
        assert unprotected.startswith("it has 8")
        assert unprotected.endswith(" MiB of memory")
        pool.execute("del x", session="a")
        assert pool.execute("os._exit(1)", session="a")["unprotected"] is None
        assert pool.execute("1", session="a")["state"] == "restored"
    with PythonExecutorService(pool_size=1, checkpoint=True) as pool:
        pool.execute(code, session="a")
        assert pool.execute("x[7] += 1; os._exit(1)", session="a")["unprotected"] is None
        assert pool.execute("len(x)", session="a")["state"] == "restored"


def test_without_checkpoints_a_crash_loses_the_session() -> None:
    with PythonExecutorService(pool_size=1, checkpoint=False) as pool:
        pool.execute("x = 1", session="a")
        assert pool.execute("import os; os._exit(1)", session="a")["unprotected"] is None
        assert pool.execute("1", session="a")["state"] == "lost"
        assert pool.info()["checkpoint"] is False


CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
# A cell that talks to the server as the interpreter does, to have a process that runs on.
ROGUE = f"""
import ctypes, os, signal, struct, time
message = struct.Struct("=cQQ").pack
def ask():
    os.write(254, message(b"c", 2**62, 99))
    return os.read(254, 256)
def clone(flags):
    return ctypes.CDLL(None).syscall({CLONE}, flags | 0x8000 | 17, 0, 0, 0, 0)
refused = [clone(0), clone(0x1200000)]
reply = ask()
pid = clone(0x1200000)
if pid == 0:
    os.setsid()
    os.write(254, message(b"d", os.getpid(), 0))
    while True:
        pass
told = os.read(254, 256)
"""


def test_a_cell_gains_no_process_by_asking_for_a_copy(
    strict: PythonExecutorService, until: Until
) -> None:
    _, server = opened(strict)
    result = strict.execute(f"{ROGUE}\nrefused, reply, told, pid", session="a")
    assert result["value"] is not None, result
    refused, reply, told, pid = ast.literal_eval(result["value"])
    assert (refused, reply, told) == ([-1, -1], b"+", b"+")
    # It is the checkpoint now, and stopped; the true one takes its place.
    until(lambda: states_of(pid) <= {"T", "Z"})
    until(lambda: pid not in children_of(server))
    assert strict.execute("refused", session="a")["value"] == "[-1, -1]"
    assert len(children_of(server)) <= 3
    strict.close_session("a")
    until(lambda: children_of(server) == [])


def test_a_copy_that_was_agreed_on_and_is_not_told_of_is_ended(
    strict: PythonExecutorService, until: Until
) -> None:
    _, server = opened(strict)
    code = ROGUE.partition("if pid == 0:")[0] + "while pid == 0: pass\npid"
    pid = int(strict.execute(code, session="a")["value"] or 0)
    until(lambda: pid not in children_of(server))
    assert strict.execute("1 + 1", session="a")["value"] == "2"


def states_of(pid: int) -> set[str]:
    """The states of a process's threads, as a letter each."""
    try:
        paths = Path(f"/proc/{pid}/task").glob("*/stat")
        return {path.read_text().rpartition(")")[2].split()[0] for path in paths}
    except OSError:
        return set()


def test_files_of_a_crashed_cell_are_not_said_to_be_of_the_next(
    pool: PythonExecutorService,
) -> None:
    pool.execute("import os", session="a")
    pool.execute("open('theirs', 'w').write('x'); os._exit(1)", session="a")
    after = pool.execute("open('mine', 'w').write('x'); os.path.exists('theirs')", session="a")
    assert (after["files"], after["value"]) == ({"mine": b"x"}, "True")


@pytest.mark.parametrize("sandbox", ["strict", "off"])
def test_a_storm_of_kills_never_shows_a_wrong_state(sandbox: Literal["strict", "off"]) -> None:
    """Whatever is killed and when: what is kept or restored is what the cells before had made."""
    over = threading.Event()
    chance = random.Random(3)
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox=sandbox) as pool:
        pids: set[int] = set()

        def kill() -> None:
            while not over.wait(chance.uniform(0.0, 0.02)):
                if pids:
                    victim = chance.choice(list(pids))
                    for family in (victim, *siblings_of(chance, victim)):
                        with_suppressed_kill(family)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            expected = 0
            states: dict[str, int] = {}
            for _ in range(200):
                code = "import os; n = globals().get('n', 0) + 1; n, os.getpid()"
                result = pool.execute(code, session="a")
                state = result["state"]
                states[state] = states.get(state, 0) + 1
                if state in ("lost", "fresh"):
                    expected = 0
                if result["value"] is None:
                    assert result["status"] == "crashed", result
                    continue
                found, pid = map(int, result["value"].strip("()").split(","))
                assert found == expected + 1, states
                expected = found
                pids = {pid}
        finally:
            over.set()
            killer.join()
        assert states["restored"] > 3, states


def siblings_of(chance: random.Random, pid: int) -> list[int]:
    """Sometimes the process's siblings: its checkpoints."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return children_of(int(stat.rpartition(")")[2].split()[1])) if chance.random() < 0.2 else []


def with_suppressed_kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
