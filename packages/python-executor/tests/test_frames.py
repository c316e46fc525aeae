"""Whatever an interpreter sends, the host gets a frame or a FrameError."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_executor._frames import FrameError, FrameReader, Outcome, Started

STARTED = {"kind": "started", "pid": 7}
RESULT = {"kind": "result", "returncode": 0, "value": "1", "error": None, "truncated": False}


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def read_all(data: bytes, step: int, limit: int = 1 << 20) -> list[Started | Outcome]:
    reader = FrameReader(limit)
    frames = []
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
        while (frame := reader.next()) is not None:
            frames.append(frame)
    return frames


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=200), step=st.integers(1, 50))
def test_arbitrary_bytes_are_never_anything_else(data: bytes, step: int) -> None:
    for stream in (data, framed(data)):
        try:
            frames = read_all(stream, step)
        except FrameError:
            continue
        assert all(isinstance(frame, Started | Outcome) for frame in frames)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, max_examples=300)
@given(
    base=st.sampled_from([STARTED, RESULT]),
    key=st.sampled_from(["kind", "pid", "returncode", "value", "error", "truncated", "extra"]),
    value=JSON,
    step=st.integers(1, 50),
)
def test_frames_with_wrong_fields_are_refused_or_right(
    base: dict[str, object], key: str, value: object, step: int
) -> None:
    body = json.dumps(base | {key: value}).encode()
    try:
        (frame,) = read_all(framed(body), step)
    except FrameError:
        return
    if isinstance(frame, Started):
        assert type(frame.pid) is int
    else:
        assert -64 <= frame.returncode <= 255
        assert frame.value is None or isinstance(frame.value, str)


@given(count=st.integers(0, 5), step=st.integers(1, 200))
def test_frames_arrive_whole_however_they_are_cut(count: int, step: int) -> None:
    data = framed(json.dumps(STARTED).encode()) + count * framed(json.dumps(RESULT).encode())
    frames = read_all(data, step)
    assert frames[0] == Started(7)
    assert frames[1:] == [Outcome(0, "1", None, truncated=False)] * count


@pytest.mark.parametrize("size", [101, 1 << 20, (1 << 32) - 1])
def test_a_frame_that_is_too_long_is_refused_by_its_header(size: int) -> None:
    reader = FrameReader(limit=100)
    reader.feed(size.to_bytes(4, "big"))
    with pytest.raises(FrameError, match="limit"):
        reader.next()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"kind":"result"}',
        b'{"kind":"started","pid":true}',
        b'{"kind":"started","pid":1,"pid2":2}',
        b'{"kind":"started","pid":"\\ud800"}',
        b'{"kind":"result","returncode":1e3,"value":null,"error":null,"truncated":false}',
        b'{"kind":"result","returncode":0,"value":"\xff","error":null,"truncated":false}',
        b"[" * 100_000,
    ],
    ids=range(11),
)
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        read_all(framed(body), 4096)
