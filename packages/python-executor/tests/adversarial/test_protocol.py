"""Whatever an interpreter sends the host: forged frames, arbitrary bytes, floods."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_executor import _run
from python_executor._run import Limits, Run
from python_executor._slot import Ends, Slot

from ._arena import Arena

SEND = """
def send(data):
    while data: data = data[os.write(control(), data) :]
"""
STARTED = {"kind": "started"}
RESULT = {"kind": "result", "returncode": 0, "value": "'forged'", "error": None, "truncated": False}


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def frame(**fields: object) -> bytes:
    return framed(json.dumps(fields).encode())


BROKEN = {
    "garbage": b"not a frame",
    "huge": b"\xff\xff\xff\xff",
    "empty": framed(b""),
    "text": framed(b"oops"),
    "unknown": frame(kind="evil"),
    "started twice": frame(**STARTED),
    "wrong types": frame(**(RESULT | {"returncode": "one"})),
    "missing field": frame(kind="result"),
    "extra field": frame(**RESULT, extra=1),
    "returncode": frame(**(RESULT | {"returncode": 10**30})),
    "value": frame(**(RESULT | {"value": ["x"]})),
    "no UTF-8": framed(json.dumps(RESULT).encode().replace(b"forged", b"\xff\xfe")),
    "surrogate": framed(json.dumps(RESULT).encode().replace(b"forged", b"\\ud800")),
    "number": framed(b'{"kind":"result","returncode":1e999}'),
    "deep": framed(b"[" * 1_000_000),
    "deep object": framed(b'{"kind":' * 1_000_000),
    "deep in an unknown field": framed(b'{"kind":"result","x":' + b"[" * 500_000 + b"]" * 500_000),
    "messages of a server": frame(kind="exited", generation=1, returncode=0),
    "long value": frame(**(RESULT | {"value": "x" * (1024 * 1024 + 129)})),
    "long message": frame(
        **(RESULT | {"error": {"type": "E", "message": "x" * 65_665, "traceback": ""}})
    ),
    "duplicate keys": framed(b'{"kind":"result","kind":"evil"}'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_is_a_crash_of_its_program(arena: Arena, name: str) -> None:
    code = f"print('kept', flush=True)\n{SEND}send({BROKEN[name]!r})\nimport time; time.sleep(1000)"
    if len(code) > 10_000:
        code = f"print('kept', flush=True)\n{SEND}send(sys.stdin.buffer.read())\nlibc.pause()"
        result = arena.attack(code, stdin=BROKEN[name].decode("latin-1"), timeout=5)
    else:
        result = arena.attack(code)
    assert (result["status"], result["returncode"], result["stdout"]) == ("crashed", -9, "kept\n")
    assert result["error"] is not None
    assert "protocol" in result["error"]["message"]


def test_a_forged_result_ends_its_own_program_only(arena: Arena) -> None:
    # Nobody but the program itself can be deceived: its result is its own to tell.
    result = arena.attack(f"{SEND}send({frame(**RESULT)!r} * 3)\nlibc.pause()")
    assert (result["status"], result["value"]) == ("ok", "'forged'")


def test_a_result_that_never_comes_whole_runs_into_the_timeout(arena: Arena) -> None:
    for part in (frame(**RESULT)[:-1], frame(**RESULT)[:3], b"\0\xff\xff\xff"):
        result = arena.attack(f"{SEND}send({part!r})\nlibc.pause()", timeout=0.2)
        assert result["status"] == "timeout"


def test_a_frame_byte_by_byte_is_a_frame(arena: Arena) -> None:
    code = f"{SEND}for byte in {frame(**RESULT)!r}: send(bytes([byte]))\nlibc.pause()"
    assert arena.attack(code)["value"] == "'forged'"


def test_a_flood_of_bytes_that_are_no_frame_costs_the_host_nothing(arena: Arena) -> None:
    # The largest length that is allowed, then bytes without end: no more than a frame is kept.
    code = f"{SEND}send((16 * 2**20 - 1).to_bytes(4, 'big'))\nwhile True: send(b'x' * 65536)"
    assert arena.attack(code, timeout=5)["status"] == "crashed"


def test_a_child_can_not_end_another_program_by_a_result(arena: Arena) -> None:
    codes = [
        f"{SEND}send({frame(**RESULT)!r})\nlibc.pause()",
        "import time; time.sleep(0.2); 'own'",
    ]
    values = [result["value"] for result in arena.attack_all(codes * 3)]
    assert values == ["'forged'", "'own'"] * 3


KINDS = st.sampled_from(["started", "result", "display", "file", "exited", "forked", "run", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=100),
    st.builds(lambda value: json.dumps(value).encode(), JSON),
    st.builds(
        lambda base, key, value: json.dumps(base | {key: value}).encode(),
        st.sampled_from([STARTED, RESULT]),
        st.sampled_from(["kind", "pid", "returncode", "value", "error", "truncated", "name"]),
        JSON | KINDS,
    ),
)
STREAMS = st.lists(st.one_of(st.binary(max_size=50), st.builds(framed, BODIES)), max_size=6)
ENDINGS = {"result", "timeout", "crashed", "output", "unstarted"}


class NoRoot(NamedTuple):
    """In the place of a fork server."""

    pid: int = 0
    directory: str = "/nonexistent"
    hidden: bool = True
    resident: int = 0


NO_ROOT = NoRoot()


class Impostor:
    """In the place of a slot server and its interpreter, on the far side of a real slot."""

    def __init__(self, slot: Slot) -> None:
        ours, self.server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        slot.attach(ours, NO_ROOT)
        _, descriptors, _, _ = socket.recv_fds(self.server, 4096, 3)
        self.ends = Ends(*descriptors)

    def close(self) -> None:
        self.server.close()
        self.ends.close()


@settings(deadline=None, max_examples=200)
@given(
    started=st.booleans(),
    stream=STREAMS,
    output=st.lists(st.binary(max_size=100), max_size=3),
    server=st.lists(st.binary(min_size=1, max_size=40) | st.builds(json.dumps, JSON), max_size=1),
    end=st.sampled_from(["stays", "closes", "is gone"]),
)
def test_a_run_ends_whatever_comes(
    started: bool, stream: list[bytes], output: list[bytes], server: list[str | bytes], end: str
) -> None:
    guard, _run.START_GUARD = _run.START_GUARD, 0.02
    closing = os.eventfd(0)
    slot = Slot(0, closing)
    impostor = Impostor(slot)
    try:
        run = Run(slot, frame(kind="run"), 0.02, Limits(1000, 100_000), closing)
        run.start()
        if started:
            os.write(impostor.ends.control, frame(**STARTED))
        for index, piece in enumerate(stream):
            os.write(impostor.ends.control, piece)
            if index % 2 and run.ending is None:
                run.step(0)
        for piece in output:
            os.write(impostor.ends.out, piece)
        for message in server:
            impostor.server.send(message if isinstance(message, bytes) else message.encode())
        if end != "stays":
            os.close(impostor.ends.control)
            impostor.ends = impostor.ends._replace(control=os.dup(impostor.ends.out))
        if end == "is gone":
            impostor.server.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 10
        while run.ending is None:
            assert time.monotonic() < deadline
            run.step(run.until - time.monotonic())
        assert run.ending.kind in ENDINGS
    finally:
        _run.START_GUARD = guard
        impostor.close()
        slot.close()
        os.close(closing)


@settings(deadline=None, max_examples=60)
@given(stream=STREAMS, end=st.sampled_from(["42", "os._exit(0)", "1 / 0", "os.close(control())"]))
def test_a_program_that_sends_anything_is_a_result(
    arena: Arena, stream: list[bytes], end: str
) -> None:
    code = f"import os\nfor piece in {stream!r}: os.write(255, piece)\n{end}"
    result = arena.executor.execute(code, timeout=0.2)
    assert result["status"] in ("ok", "error", "crashed", "timeout")
    assert arena.executor.execute("1 + 1")["value"] == "2"
