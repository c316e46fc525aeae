"""The attacks of the other modules as cells of sessions, whose filters and sockets are others."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from python_executor import ExecutionResult
from python_executor._child.interpreter import CONTROL, PRIVATE

from . import (
    test_descriptors,
    test_ends,
    test_filters,
    test_kernel,
    test_leftovers,
    test_network,
    test_output,
    test_patching,
    test_processes,
    test_protocol,
    test_reading,
    test_runaway,
    test_survivors,
    test_ways_round,
    test_writing,
)
from ._arena import VARIANTS, Arena
from ._host import SECRET, Hoard, Victim
from ._programs import NUMBERS


@pytest.fixture(scope="module", params=VARIANTS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    with Arena(
        namespaces=request.param,
        interrupt_grace=0.1,
        max_output=test_output.MAX_OUTPUT,
        max_total_output=2**20,
    ) as arena:
        yield arena


@pytest.fixture(scope="module")
def plain() -> Iterator[Arena]:
    """For what has nothing to do with namespaces."""
    with Arena(
        pool_size=4,
        interrupt_grace=0.1,
        max_output=test_output.MAX_OUTPUT,
        max_total_output=2**20,
    ) as arena:
        yield arena


def value_of(result: ExecutionResult) -> Any:
    assert result["status"] == "ok", result
    assert result["value"] is not None, result
    return ast.literal_eval(result["value"])


def calls() -> dict[str, str]:
    known = {
        name: code
        for name, code in test_kernel.CALLS.items()
        if ast.literal_eval(code.partition(",")[0]) in NUMBERS
    }
    return {name: f"call({code.rstrip(',')})" for name, code in known.items()}


MADE = "r = told({})\nr if isinstance(r, str) else 'made'"
# What each is to be told, beside one of these.
REFUSED = {"EPERM", "EACCES", "ENOSYS"}
TABLES: dict[str, tuple[dict[str, str], set[str]]] = {
    "calls": (calls(), set()),
    "processes": (test_processes.NONE, {"ENOENT"}),
    "sockets": (
        {
            name: "import socket\n" + MADE.format(f"socket.socket, {kind}")
            for name, kind in test_network.KINDS.items()
        },
        test_network.REFUSED,
    ),
    "objects": (test_ways_round.LEFT, set()),
    "writing": (test_writing.WAYS, test_writing.REFUSED | {"EBADF"}),
}
SETUP = """
VICTIM, secret, folder = {victim}, {secret!r}, {folder!r}
BUFFER = ctypes.create_string_buffer(4096)
IOVEC = (ctypes.c_size_t * 2)(ctypes.addressof(BUFFER), 8)
told(os.chdir, os.environ["HOME"])
for name in os.listdir("."): told(os.unlink, name)
"""


@pytest.mark.parametrize("table", TABLES)
def test_what_a_program_is_refused_a_cell_is(
    arena: Arena, victim: Victim, hoard: Hoard, table: str
) -> None:
    codes, also = TABLES[table]
    setup = SETUP.format(
        victim=victim.pid, secret=str(hoard.path / "secret"), folder=str(hoard.path)
    )
    results = arena.attack_in_sessions([setup + code for code in codes.values()])
    victim.assert_unharmed()
    hoard.assert_unharmed()
    seen = dict(zip(codes, map(value_of, results), strict=True))
    assert {name: told for name, told in seen.items() if told not in REFUSED | also} == {}


def test_a_cell_reads_no_file_of_the_hosts(arena: Arena, victim: Victim, hoard: Hoard) -> None:
    setup = SETUP.format(
        victim=victim.pid, secret=str(hoard.path / "secret"), folder=str(hoard.path)
    )
    results = arena.attack_in_sessions([setup + code for code in test_reading.WAYS.values()])
    hoard.assert_unharmed()
    for name, result in zip(test_reading.WAYS, results, strict=True):
        assert (result["status"], result["value"]) == ("error", None), name
        assert SECRET not in result["stdout"] + result["stderr"]


def test_a_cell_changes_no_file_of_the_hosts(arena: Arena, hoard: Hoard) -> None:
    paths = [str(hoard.path / "secret"), str(hoard.path), str(hoard.path / "folder")]
    ways = test_ways_round.ON_FILES
    results = arena.attack_in_sessions([f"paths = {paths!r}\n{code}" for code in ways.values()])
    hoard.assert_unharmed()
    for name, result in zip(ways, results, strict=True):
        assert set(value_of(result)) <= REFUSED | {None, 0, "EBADF", "ENOTTY"}, name


def test_the_sandbox_of_a_session_holds_after(arena: Arena) -> None:
    attacks = test_filters.ATTACKS
    codes = [code + test_filters.STILL for code in attacks.values()]
    for name, result in zip(attacks, arena.attack_in_sessions(codes, apart=True), strict=True):
        assert set(value_of(result)) <= test_filters.REFUSED | {"ENOENT"}, name


def test_no_call_gets_through_that_is_not_listed(plain: Arena) -> None:
    deadly = {NUMBERS[name] for name in test_kernel.DEADLY.split() if name in NUMBERS}
    code = f"""
reached = []
for number in range(600):
    if number not in {deadly!r} and call(number, *[-1] * 6) not in ("EPERM", "ENOSYS"):
        reached.append(number)
reached
"""
    (result,) = plain.attack_in_sessions([code], apart=True)
    names = {number: name for name, number in NUMBERS.items()}
    reached = {names.get(number, str(number)) for number in value_of(result)}
    # Of copies, which lead groups of their own, and of branches: rules to restrict themselves by are
    # what they lack.
    of_sessions = {"setsid", "recvmsg", "landlock_restrict_self"}
    assert reached - set(test_kernel.OPEN.split()) - of_sessions == set()
    assert {"read", "munmap", "mkdirat"} <= reached


def test_prctl_sets_nothing_but_names_and_to_die_with_the_server(plain: Arena) -> None:
    code = f"""
got = {{}}
for option in {test_filters.OPTIONS!r}:
    for value in (0, 1, 9):
        if (option, value) != (1, 9) and libc.prctl(option, value, 0, 0, 0) != -1:
            got[option] = value
got
"""
    (result,) = plain.attack_in_sessions([code])
    assert value_of(result) == {}


Check = Callable[[ExecutionResult], bool]


def ended(result: ExecutionResult) -> bool:
    return result["status"] in ("crashed", "timeout") and result["value"] is None


def framed(data: bytes) -> str:
    return f"{test_protocol.SEND}send({data!r})\nimport time; time.sleep(1000)"


SEND = f"print('kept', flush=True)\n{test_protocol.SEND}"
# What ends a cell, or spoils its session: codes, how long each may take, what is to come of it, and
# whether the session must serve afterwards.
DEADLY: dict[str, tuple[dict[str, str], float, Check, bool]] = {
    "crashes": (
        {name: code for name, (code, _) in test_ends.CRASHES.items()},
        20.0,
        lambda result: result["status"] == "crashed",
        True,
    ),
    "frames": (
        {name: framed(data) for name, data in test_protocol.BROKEN.items() if len(data) < 10_000},
        20.0,
        lambda result: (result["status"], result["returncode"]) == ("crashed", -9),
        True,
    ),
    "closed": (test_descriptors.CLOSED, 0.5, ended, True),
    "overwritten": (
        {
            name: f"{code}\nfor i in range(256):\n    if i != n: os.dup2(n, i)"
            for name, code in test_descriptors.OVERWRITTEN.items()
        },
        0.3,
        ended,
        True,
    ),
    "floods": (
        # Threads don't hold a cell up: it is to wait for its end.
        {name: f"{code}\nlibc.pause()" for name, code in test_output.FLOODS.items()},
        20.0,
        lambda result: (result["status"], result["returncode"]) == ("output", -9),
        True,
    ),
    "endless": (
        test_runaway.ENDLESS,
        0.2,
        lambda result: result["status"] in ("timeout", "error"),
        True,
    ),
    # They spoil what later cells of theirs find.
    "patches": (test_patching.PATCHES, 20.0, lambda result: result["status"] == "ok", False),
    "leavings": (
        {name: f"{code}\n42" for name, code in test_survivors.LEFT.items()},
        20.0,
        lambda result: (result["status"], result["value"]) == ("ok", "42"),
        False,
    ),
    "leavings beside": (
        {name: test_leftovers.SETUP + code for name, code in test_leftovers.LEFT.items()},
        20.0,
        lambda result: result["status"] in ("ok", "error"),
        False,
    ),
}


@pytest.mark.parametrize("table", DEADLY)
def test_what_spoils_a_session_hurts_nobody_else(plain: Arena, table: str) -> None:
    codes, timeout, check, serve = DEADLY[table]
    results = plain.attack_in_sessions(
        list(codes.values()), timeout=timeout, apart=True, serve=serve
    )
    wrong = {name: each for name, each in zip(codes, results, strict=True) if not check(each)}
    assert wrong == {}


def test_a_sessions_sockets_can_not_be_used_but_for_what_they_are(plain: Arena) -> None:
    code = """
import socket
host = socket.socket(fileno=os.dup(control()))
[told(host.send, b"x", socket.MSG_OOB), told(host.recv, 1, socket.MSG_OOB | socket.MSG_DONTWAIT)] + [
    told(host.getsockopt, 1, option, 12) for option in (17, 77)
] + [told(lambda: host.sendmsg([b"x"], [(1, 1, b"\\1\\0\\0\\0")])), told(host.recvmsg, 9, 0, socket.MSG_DONTWAIT)]
"""
    for control in (CONTROL, PRIVATE):
        (result,) = plain.attack_in_sessions([code], control=control)
        assert value_of(result) == ["EPERM", "ENOTSUP", "EPERM", "EPERM", "EPERM", "EAGAIN"]


def test_a_cell_has_no_descriptor_but_its_own(plain: Arena) -> None:
    code = """
opened = []
for number in range(4096):
    try: os.fstat(number); opened.append(number)
    except OSError: pass
opened
"""
    (result,) = plain.attack_in_sessions([code])
    assert value_of(result) == [0, 1, 2, PRIVATE, CONTROL]
