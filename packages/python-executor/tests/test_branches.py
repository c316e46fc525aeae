"""Branches: copies of a session that go on by themselves."""

from __future__ import annotations

import ast
import os
import pickle
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Literal

import pytest

from python_executor import (
    ForkServerError,
    InvalidArgumentError,
    PythonExecutorService,
    SandboxPolicy,
    SessionCopyError,
    SessionExistsError,
    SessionNotFoundError,
)

Until = Callable[[Callable[[], bool]], None]
Lend = Callable[..., AbstractContextManager[PythonExecutorService]]
Alive = Callable[[int], bool]


@pytest.fixture(params=["strict", "off"])
def pool(request: pytest.FixtureRequest, lend: Lend) -> Iterator[PythonExecutorService]:
    sandbox: Literal["strict", "off"] = request.param
    with lend(pool_size=2, timeout=30.0, sandbox=sandbox) as pool:
        yield pool


def value(pool: PythonExecutorService, code: str, session: str) -> object:
    result = pool.execute(code, session=session)
    assert result["value"] is not None, result
    return ast.literal_eval(result["value"])


def test_a_branch_goes_on_from_the_state_of_its_source(pool: PythonExecutorService) -> None:
    pool.execute(
        "import builtins, os, random\n"
        "x = [1]; builtins.y = 2; random.seed(3); os.mkdir('d'); os.chdir('d')\n"
        "def f():\n    return x, y",
        session="a",
    )
    pool.fork_session("a", "b")
    first = pool.execute("x.append(2); builtins.y = 3; f()", session="a")
    second = pool.execute("x.append(4); f()", session="b")
    assert (first["value"], second["value"]) == ("([1, 2], 3)", "([1, 4], 2)")
    assert (second["state"], second["unprotected"]) == ("kept", None)
    ends = [value(pool, "os.path.basename(os.getcwd()), random.random()", s) for s in "ab"]
    assert ends[0] == ends[1]
    failed = pool.execute("1 / 0", session="b")
    assert failed["error"] is not None
    assert '"<cell 4>"' in failed["error"]["traceback"]
    infos = {info["session"]: info["cells"] for info in pool.list_sessions()}
    assert infos == {"a": 3, "b": 4}


def test_files_are_copies_and_open_ones_are_opened_in_the_copy(
    pool: PythonExecutorService,
) -> None:
    pool.execute(
        "import os, tempfile\n"
        "f = open('f', 'w+'); f.write('abcdef'); f.flush(); os.lseek(f.fileno(), 2, 0)\n"
        "g = open('g', 'a'); g.write('1'); g.flush()\n"
        "t = tempfile.TemporaryFile(); t.write(b'gone'); t.flush(); t.seek(1)\n"
        "s = open(os.__file__); s.readline(); d = os.open('.', os.O_RDONLY)",
        session="a",
    )
    pool.fork_session("a", "b")
    pool.fork_session("b", "c")
    for name in "abc":
        code = (
            f"g.write({name!r}); g.flush(); os.write(f.fileno(), {name!r}.encode()); "
            f"t.write({name!r}.encode()); t.flush(); t.seek(0)\n"
            "open('f').read(), open('g').read(), t.read(), os.path.samestat(os.stat('f'), "
            "os.fstat(f.fileno())), s.tell(), sorted(os.listdir('.')), "
            "os.path.samestat(os.stat('.'), os.fstat(d))"
        )
        found = value(pool, code, name)
        assert isinstance(found, tuple)
        text, appended, nameless, same, _, names, folder = found
        assert (text, appended, same) == (f"ab{name}def", f"1{name}", True)
        assert nameless == b"g" + name.encode() + b"ne"
        assert (names, folder) == (["f", "g"], True)


def test_nothing_that_was_copied_counts_as_made_by_the_next_cell(
    pool: PythonExecutorService,
) -> None:
    pool.execute("open('old', 'w').write('1')", session="a")
    pool.fork_session("a", "b")
    made = pool.execute("open('new', 'w').write('2')", session="b")
    assert made["files"] == {"new": b"2"}


def test_what_names_the_working_directory_names_that_of_the_branch(
    pool: PythonExecutorService,
) -> None:
    code = (
        "import os, sys, tempfile\n"
        "os.mkdir('package'); open('package/__init__.py', 'w').write('')\n"
        "open('package/late.py', 'w').write('late = 1'); open('other.py', 'w').write('other = 1')\n"
        "tempfile.gettempdir()\nimport package"
    )
    assert pool.execute(code, session="a")["status"] == "ok"
    pool.fork_session("a", "b")
    pool.close_session("a")
    home = value(
        pool,
        "import other, package.late\n"
        "where = {os.environ['HOME'], os.environ['TMPDIR'], tempfile.gettempdir(), "
        "os.path.dirname(other.__file__), os.path.dirname(os.path.dirname(package.__file__)), "
        "sys.path[0]}\nos.path.samefile(where.pop(), '.'), len(where)",
        "b",
    )
    assert home == (True, 0)


def test_every_kind_of_file_is_copied(pool: PythonExecutorService) -> None:
    make = (
        "import os, stat\n"
        "os.mkdir('d'); open('d/x', 'w').write('x'); os.link('d/x', 'hard')\n"
        "os.symlink('d/x', 'near'); os.symlink(os.path.abspath('d/x'), 'far')\n"
        "os.symlink('/nowhere', 'broken'); os.mkfifo('pipe')\n"
        "os.close(os.open('closed', os.O_CREAT | os.O_WRONLY, 0o200)); os.mkdir('locked', 0)\n"
        "hole = open('hole', 'wb'); hole.seek(10**8); hole.write(b'end'); hole.close()\n"
        "empty = open('empty', 'wb'); empty.truncate(10**6); empty.close()"
    )
    assert pool.execute(make, session="a")["status"] == "ok"
    pool.fork_session("a", "b")
    pool.close_session("a")
    looked = value(
        pool,
        "open('d/x', 'w').write('y')\n"
        "(open('hard').read(), open('near').read(), open('far').read(), os.readlink('broken'),"
        " stat.S_ISFIFO(os.stat('pipe').st_mode), oct(os.stat('closed').st_mode),"
        " oct(os.stat('locked').st_mode), os.stat('hole').st_size,"
        " os.stat('hole').st_blocks < 100, os.stat('empty').st_size)",
        "b",
    )
    modes = ("0o100200", "0o40000")
    assert looked == ("y", "y", "y", "/nowhere", True, *modes, 10**8 + 3, True, 10**6)


def test_a_branch_goes_back_to_its_own_last_cell(pool: PythonExecutorService) -> None:
    pool.execute("import os; x = 1", session="a")
    pool.fork_session("a", "b")
    assert pool.execute("x = 2; os._exit(1)", session="b")["status"] == "crashed"
    after = pool.execute("x", session="b")
    assert (after["state"], after["value"]) == ("restored", "1")
    pool.execute("x = 3", session="b")
    pool.execute("os._exit(1)", session="b")
    pool.fork_session("b", "c")
    assert [value(pool, "x", name) for name in "abc"] == [1, 3, 3]


def test_branches_outlive_the_session_that_they_come_from(
    pool: PythonExecutorService, until: Until, alive: Alive
) -> None:
    pids = []
    pool.execute("import os; x = 1", session="a")
    for source, name in ("ab", "bc", "ad"):
        pool.fork_session(source, name)
    for name in "abcd":
        pids.append(value(pool, f"open({name!r}, 'w').close(); x = {name!r}; os.getpid()", name))
    assert pool.close_session("a")
    assert pool.close_session("b")
    until(lambda: not any(alive(pid) for pid in pids[:2] if isinstance(pid, int)))
    assert value(pool, "x, os.listdir()", "c") == ("c", ["c"])
    pool.fork_session("c", "a")
    assert value(pool, "x, os.listdir()", "a") == ("c", ["c"])
    assert pool.execute("'x' in globals()", session="b")["value"] == "False"
    assert value(pool, "x, os.listdir()", "d") == ("d", ["d"])


def test_a_session_that_loses_its_process_leaves_its_branches_alone() -> None:
    with PythonExecutorService(pool_size=2, timeout=30.0, checkpoint=False) as pool:
        pool.execute("import os; x = 1", session="a")
        pool.fork_session("a", "b")
        pool.fork_session("b", "c")
        for name in "ab":
            assert pool.execute("os._exit(1)", session=name)["status"] == "crashed"
            lost = pool.execute("'x' in globals()", session=name)
            assert (lost["state"], lost["value"]) == ("lost", "False")
        assert value(pool, "x", "c") == 1
        pool.execute("y = 1", session="a")
        pool.fork_session("a", "d")
        assert value(pool, "y", "d") == 1


def test_if_the_server_of_a_family_dies_all_of_it_is_lost_and_nothing_else(
    pool: PythonExecutorService, until: Until, alive: Alive
) -> None:
    pool.execute("import os; x = 1", session="a")
    pool.execute("x = 1", session="other")
    for name in "bcd":
        pool.fork_session("a", name)
    server = value(pool, "os.getppid()", "b")
    assert isinstance(server, int)
    pids = [value(pool, "os.getpid()", name) for name in "abcd"]
    os.kill(server, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids if isinstance(pid, int)))
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda s: pool.execute("globals().get('x')", session=s), "abcd"))
    assert [(r["state"], r["value"]) for r in results] == [("lost", None)] * 4
    assert value(pool, "x", "other") == 1
    for name in "abcd":
        pool.execute(f"x = {name!r}", session=name)
    assert [value(pool, "x", name) for name in "abcd"] == list("abcd")


@pytest.mark.load
def test_sixty_four_branches_of_one_session(strict: PythonExecutorService) -> None:
    strict.execute("x = list(range(1000)); open('f', 'w').write('f')", session="root")
    names = [f"root/{n}" for n in range(64)]
    for name in names:
        strict.fork_session("root", name)
    assert strict.stats()["sessions"] == 65
    for number, name in enumerate(names):
        strict.execute(f"x.append({number}); open('f', 'a').write('{number}')", session=name)
    ends = [value(strict, "x[1000:], open('f').read()", name) for name in names]
    assert ends == [([number], f"f{number}") for number in range(64)]
    assert value(strict, "x[1000:], open('f').read()", "root") == ([], "f")


def test_a_chain_of_forty_branches(strict: PythonExecutorService) -> None:
    """Landlock stacks 16 layers at most."""
    strict.execute("x = []; open('f', 'w').close()", session="0")
    for number in range(40):
        strict.fork_session(str(number), str(number + 1))
        grow = f"x.append({number}); open('f', 'a').write('x'); len(x), open('f').read()"
        assert value(strict, grow, str(number + 1)) == (number + 1, "x" * (number + 1))
    assert value(strict, "x, open('f').read()", "0") == ([], "")
    for number in range(40):
        strict.close_session(str(number))
    assert value(strict, "len(x), open('f').read()", "40") == (40, "x" * 40)


def test_branches_cannot_reach_each_other(strict: PythonExecutorService) -> None:
    strict.execute(
        "import os; here = os.getcwd(); pid = os.getpid(); open('f', 'w').close()", session="a"
    )
    strict.fork_session("a", "b")
    strict.fork_session("a", "c")
    strict.fork_session("b", "d")
    paths = [value(strict, "os.getcwd()", name) for name in "abcd"]
    pids = [value(strict, "os.getpid()", name) for name in "abcd"]
    check = (
        "def tried(what):\n"
        "    try:\n        what()\n"
        "    except OSError as error:\n        return type(error).__name__\n"
        "    return 'done'\n"
        "results = []\n"
    )
    for own, name in enumerate("abcd"):
        # Of what its branches may do in there, the one that they come from knows no names.
        others = [path for n, path in enumerate(paths) if n != own and (own, n) not in _OWNERS]
        code = check + (
            f"for path in {others}:\n"
            "    results.append(tried(lambda: open(path + '/f').read()))\n"
            "    results.append(tried(lambda: os.listdir(path)))\n"
            "    results.append(tried(lambda: open(path + '/new', 'w')))\n"
            f"for other in {[pid for n, pid in enumerate(pids) if n != own]}:\n"
            "    results.append(tried(lambda: os.kill(other, 0)))\n"
            "folder = os.getcwd()\n"
            "for _ in range(3):\n"
            "    folder = os.path.dirname(folder)\n"
            "    results.append(tried(lambda: os.listdir(folder)))\n"
            "    results.append(tried(lambda: os.mkdir(folder + '/new')))\n"
            "    results.append(tried(lambda: os.chmod(folder, 0o777) or os.listdir(folder)))\n"
            "set(results)"
        )
        assert value(strict, code, name) == {"PermissionError"}, name


# (who, whose directory it may enter if it knows its name): what Landlock can't take away again.
_OWNERS = {(0, 1), (0, 2), (0, 3), (1, 3)}


REFUSALS = {
    "another thread": (
        "import threading; e = threading.Event(); threading.Thread(target=e.wait).start()",
        "another thread runs",
    ),
    "pipe": ("import os; r, w = os.pipe()", "it has a pipe, a socket or the like open"),
    "socket": ("import socket; s = socket.socketpair()", "a socket"),
    "eventfd": ("import os; e = os.eventfd(0)", "or the like"),
    "deep": ("import os\nfor _ in range(150): os.mkdir('d'); os.chdir('d')", "nested deeper"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_what_cannot_be_copied_is_refused_and_the_session_goes_on(
    pool: PythonExecutorService, what: str
) -> None:
    code, reason = REFUSALS[what]
    pool.execute(code, session="a")
    pool.execute("x = 1", session="a")
    with pytest.raises(SessionCopyError, match=reason):
        pool.fork_session("a", "b")
    assert [info["session"] for info in pool.list_sessions()] == ["a"]
    assert value(pool, "x", "a") == 1
    assert pool.execute("1", session="b")["state"] == "fresh"


def test_files_that_are_mapped_to_be_written_to_are_refused(strict: PythonExecutorService) -> None:
    code = (
        "import mmap\nf = open('f', 'wb+'); f.write(b'x' * 4096); f.flush()\n"
        "m = mmap.mmap(f.fileno(), 4096, access={})"
    )
    for access in ("mmap.ACCESS_READ", "mmap.ACCESS_COPY"):
        assert strict.execute(code.format(access), session="a")["status"] == "ok"
    strict.fork_session("a", "b")
    assert strict.execute(code.format("mmap.ACCESS_WRITE"), session="a")["status"] == "ok"
    with pytest.raises(SessionCopyError, match="it has mapped a file"):
        strict.fork_session("a", "c")
    strict.fork_session("b", "c")


def test_child_processes_are_refused() -> None:
    policy = SandboxPolicy.with_processes(processes=50)
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as pool:
        pool.execute("import subprocess; p = subprocess.Popen(['sleep', '1000'])", session="a")
        with pytest.raises(SessionCopyError, match="child processes"):
            pool.fork_session("a", "b")
        pool.execute("p.kill(); p.wait()", session="a")
        pool.fork_session("a", "b")
        for name in "ab":
            ran = pool.execute(
                "subprocess.run(['echo', '1'], capture_output=True).stdout", session=name
            )
            assert ran["value"] == r"b'1\n'"


def test_sessions_that_are_not_there_and_names_that_are_taken(
    pool: PythonExecutorService,
) -> None:
    with pytest.raises(SessionNotFoundError, match="does not exist"):
        pool.fork_session("a", "b")
    pool.execute("import os; x = 1", session="a")
    pool.execute("x = 2", session="b")
    with pytest.raises(SessionExistsError, match="'b' already"):
        pool.fork_session("a", "b")
    assert value(pool, "x", "b") == 2
    with pytest.raises(InvalidArgumentError, match="another name than src"):
        pool.fork_session("a", "a")
    with pytest.raises(InvalidArgumentError, match="src"):
        pool.fork_session("", "a")
    for error in (SessionNotFoundError("a", lost=True), SessionCopyError("a", "why")):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_lost_session_cannot_be_branched() -> None:
    with PythonExecutorService(pool_size=1, timeout=30.0, checkpoint=False) as pool:
        pool.execute("import os; x = 1", session="a")
        pool.execute("os._exit(1)", session="a")
        with pytest.raises(SessionNotFoundError, match="lost its process"):
            pool.fork_session("a", "b")
        assert pool.execute("1", session="a")["state"] == "lost"
        pool.fork_session("a", "b")


def test_a_branch_takes_the_place_of_the_session_that_nobody_used_for_longest() -> None:
    with PythonExecutorService(pool_size=1, timeout=30.0, max_sessions=3) as pool:
        for name in "abc":
            pool.execute(f"x = {name!r}", session=name)
        pool.fork_session("a", "d")
        assert [info["session"] for info in pool.list_sessions()] == ["c", "a", "d"]
        assert value(pool, "x", "d") == "a"
        assert pool.execute("1", session="b")["state"] == "lost"


def test_a_branch_waits_for_cells_that_were_called_before(pool: PythonExecutorService) -> None:
    pool.execute("import time; x = 0", session="a")
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(
            pool.execute, "open('begun', 'w'); time.sleep(0.2); x = 1", session="a"
        )
        while pool.stats()["idle"] == 2:
            pass
        pool.fork_session("a", "b")
        slow.result()
    assert value(pool, "x", "b") == 1


def test_branches_of_each_other_at_the_same_time(pool: PythonExecutorService) -> None:
    """Each waits for the turns of both: nobody may wait for one who waits for him."""
    for name in "ab":
        pool.execute(f"x = {name!r}", session=name)
    errors: list[type[Exception]] = []
    barrier = threading.Barrier(4)

    def branch(source: str, name: str) -> None:
        barrier.wait()
        for _ in range(10):
            try:
                pool.fork_session(source, name)
            except (SessionExistsError, SessionNotFoundError) as error:
                errors.append(type(error))
            else:
                pool.close_session(name)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(branch, "abcb", "badd"))
    assert {SessionExistsError} <= set(errors)
    assert value(pool, "x", "a") in ("a", "b")


def test_a_session_that_awaits_goes_on_in_both(pool: PythonExecutorService) -> None:
    pool.execute(
        "import asyncio\nq = asyncio.Queue()\nawait asyncio.sleep(0)\n"
        "async def later(x):\n    await asyncio.sleep(0.01)\n    return x\n"
        "task = asyncio.create_task(later('begun'))",
        session="a",
    )
    pool.fork_session("a", "b")
    for name in "ab":
        code = f"await q.put({name!r})\n[await task, await later(await q.get())]"
        assert value(pool, code, name) == ["begun", name]
    threads = "await asyncio.gather(*[asyncio.to_thread(len, 'abc') for _ in range(3)])"
    assert [value(pool, threads, name) for name in "ab"] == [[3, 3, 3]] * 2


def test_a_seed_goes_on_in_all(strict: PythonExecutorService) -> None:
    strict.execute("import random", session="a", seed=7)
    for name in "bc":
        strict.fork_session("a", name)
    drawn = [value(strict, "random.random()", name) for name in "abc"]
    assert drawn[0] == drawn[1] == drawn[2]
    strict.execute("random.seed()", session="b")
    assert value(strict, "random.random()", "b") != value(strict, "random.random()", "a")


def test_a_program_that_makes_branches_up_gets_none(strict: PythonExecutorService) -> None:
    """What the interpreter says to its server, a cell can say too."""
    ask = (
        "import os, struct\n"
        "message = struct.Struct('=cQQ').pack\n"
        "os.write(254, message(b'b', 0, 0)); print(os.read(254, 99))\n"
        "os.write(254, message(b'd', os.getpid(), 0)); os.write(254, message(b'r', 0, 0))"
    )
    strict.execute("x = 1", session="other")
    result = strict.execute(ask, session="a")
    assert (result["status"], result["stdout"]) == ("ok", "b'nobody wants it'\n")
    assert value(strict, "6 * 7", "a") == 42
    strict.fork_session("a", "b")
    assert value(strict, "6 * 7", "b") == 42


def test_nothing_is_left_of_branches_that_are_closed(
    pool: PythonExecutorService, until: Until
) -> None:
    pool.execute("import os; open('f', 'w').write('f')", session="a")
    paths = []
    for _ in range(3):
        for source, name in ("ab", "ac", "ad", "de"):
            pool.fork_session(source, name)
            fill = f"os.makedirs('{name}/d'); open('{name}/g', 'w').close()\n"
            paths.append(value(pool, fill + "os.path.dirname(os.getcwd())", name))
        for name in "dbce":
            pool.close_session(name)
    until(lambda: value(pool, f"any(map(os.path.exists, {paths}))", "a") is False)
    assert value(pool, "open('f').read(), os.listdir()", "a") == ("f", ["f"])


def test_nothing_is_left_if_the_root_dies_with_branches_open(
    pool: PythonExecutorService, until: Until, alive: Alive
) -> None:
    """What modes their directories have must not matter."""
    pool.execute("import os; open('f', 'w').close(); os.mkdir('d', 0)", session="a")
    for source, name in ("ab", "bc"):
        pool.fork_session(source, name)
    pids = [value(pool, "os.getpid()", name) for name in "abc"]
    root = pool.info()["server"]
    assert root is not None
    os.kill(root, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids if isinstance(pid, int)))
    assert pool.execute("1", session="b")["state"] == "lost"
    pool.fork_session("b", "d")


def test_a_branch_for_which_there_is_no_room() -> None:
    with PythonExecutorService(pool_size=1, timeout=30.0, max_sessions=1) as pool:
        pool.execute("x = 1", session="a")
        with pytest.raises(SessionCopyError, match="max_sessions is 1"):
            pool.fork_session("a", "b")
        after = pool.execute("x", session="a")
        assert (after["state"], after["value"]) == ("kept", "1")


def test_cells_of_others_wait_for_room_while_sessions_are_branched() -> None:
    with PythonExecutorService(pool_size=2, timeout=30.0, max_sessions=3) as pool:
        for name in "ab":
            pool.execute("x = 1", session=name)
        stop = threading.Event()

        def branch() -> int:
            done = 0
            while not stop.is_set():
                try:
                    pool.fork_session("a", "c")
                    done += 1
                except (SessionCopyError, SessionExistsError, SessionNotFoundError):
                    pool.execute("x = 1", session="a")
                pool.close_session("c")
            return done

        with ThreadPoolExecutor(2) as threads:
            branching = [threads.submit(branch) for _ in range(2)]
            for number in range(40):
                ran = pool.execute("x = 1; x", session=f"s{number % 4}")
                assert ran["value"] == "1"
            stop.set()
            assert sum(each.result() for each in branching) > 0


def test_a_session_that_has_no_room_for_what_a_branch_needs(strict: PythonExecutorService) -> None:
    strict.execute(
        "import os; open('f', 'w').write('f'); f = open('f'); full = []\n"
        "try:\n    while True: full.append(os.open('.', os.O_RDONLY))\nexcept OSError: pass",
        session="a",
    )
    results = []
    for free in range(9):
        try:
            strict.fork_session("a", "b")
            results.append(True)
            read = strict.execute("f.read()", session="b")
            assert (read["state"], read["value"]) == ("kept", "'f'"), (free, read)
            strict.close_session("b")
        except SessionCopyError:
            results.append(False)
        assert value(strict, "os.close(full.pop()) or len(full) > 0", "a") is True
    assert results == sorted(results)
    assert (results[0], results[-1]) == (False, True)


def test_descriptors_that_the_host_does_not_have(pool: PythonExecutorService) -> None:
    pool.execute("x = 1", session="a")
    value(pool, "x", "a")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208
    done = []
    for more in range(1, 12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, limits[1]))
        try:
            pool.fork_session("a", "b")
            done.append(more)
        except ForkServerError:
            assert not done
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        pool.close_session("b")
        assert value(pool, "x", "a") == 1
    assert done
