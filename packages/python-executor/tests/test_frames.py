"""Whatever an interpreter sends, the host gets a frame or a FrameError."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_executor._frames import (
    FRAME_LIMIT,
    Display,
    File,
    Frame,
    FrameError,
    FrameReader,
    Outcome,
    Started,
    total_of,
)

STARTED = {"kind": "started"}
RESULT = {"kind": "result", "returncode": 0, "value": "1", "error": None, "truncated": False}
DISPLAY = {"kind": "display", "data": {"text/plain": "x"}}
FILE = {"kind": "file", "name": "a/b", "data": "YWI=", "more": False}
KINDS = Started | Display | File | Outcome


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def read_all(data: bytes, step: int, limit: int = 1 << 20) -> list[Frame]:
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
        assert all(isinstance(frame, KINDS) for frame in frames)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, max_examples=300)
@given(
    base=st.sampled_from([STARTED, RESULT, DISPLAY, FILE]),
    key=st.sampled_from(
        [
            "kind",
            "pid",
            "returncode",
            "value",
            "error",
            "truncated",
            "data",
            "name",
            "more",
            "extra",
        ]
    ),
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
        assert base | {key: value} == STARTED
    elif isinstance(frame, Display):
        assert all(type(text) is str for item in frame.data.items() for text in item)
    elif isinstance(frame, File):
        assert (type(frame.name), type(frame.data), type(frame.more)) == (str, bytes, bool)
    else:
        assert -64 <= frame.returncode <= 255
        assert frame.value is None or isinstance(frame.value, str)


def test_pieces_of_files_and_displays_are_taken_apart() -> None:
    data = framed(json.dumps(DISPLAY).encode()) + framed(json.dumps(FILE).encode())
    display, file = read_all(data, 7)
    assert display == Display({"text/plain": "x"})
    assert file == File("a/b", b"ab", more=False)


@given(count=st.integers(0, 5), step=st.integers(1, 200))
def test_frames_arrive_whole_however_they_are_cut(count: int, step: int) -> None:
    data = framed(json.dumps(STARTED).encode()) + count * framed(json.dumps(RESULT).encode())
    frames = read_all(data, step)
    assert frames[0] == Started()
    assert frames[1:] == [Outcome(0, "1", None, truncated=False)] * count


@pytest.mark.parametrize("size", [101, 1 << 20, (1 << 32) - 1])
def test_a_frame_that_is_too_long_is_refused_by_its_header(size: int) -> None:
    reader = FrameReader(limit=100)
    reader.feed(size.to_bytes(4, "big"))
    with pytest.raises(FrameError, match="limit"):
        reader.next()


def test_more_than_all_frames_together_may_have_is_refused_whatever_it_is() -> None:
    reader = FrameReader(total=100)
    frame = framed(json.dumps(STARTED).encode())
    for _ in range(100 // len(frame)):
        reader.feed(frame)
        assert reader.next() == Started()
    reader.feed(frame)
    with pytest.raises(FrameError, match="together"):
        reader.next()


def test_a_million_strings_are_refused_before_they_are_decoded() -> None:
    strings = ",".join(f'"{n}\\\\" : ""' for n in range(100_000))
    with pytest.raises(FrameError, match="more strings"):
        read_all(framed(f'{{"kind":"display","data":{{{strings}}}}}'.encode()), 1 << 20, 1 << 24)


def test_a_string_may_hold_as_many_quotes_as_it_likes() -> None:
    for text in ('"' * 100_000, '\\"' * 100_000, '{"a": ["b", "c\\\\"]}' * 10_000):
        frame = framed(json.dumps(RESULT | {"value": text}).encode())
        assert read_all(frame, 1 << 20) == [Outcome(0, text, None, truncated=False)]


def test_what_an_interpreter_may_send_is_never_more_than_all_frames_may_have() -> None:
    for limit in (0, 1, 16 * 1024 * 1024, 1 << 40):
        files = limit * 4 // 3 + 1064 * (3 * 1024 + 100)  # 1,000 names, and pieces of 256 KiB
        assert total_of(limit) > FRAME_LIMIT + files + limit + 100 * 1024


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"kind":"result"}',
        b'{"kind":true}',
        b'{"kind":"started","pid":1}',
        b'{"kind":"display","data":{"text/plain":"\\ud800"}}',
        b'{"kind":"result","returncode":1e3,"value":null,"error":null,"truncated":false}',
        b'{"kind":"result","returncode":0,"value":"\xff","error":null,"truncated":false}',
        b'{"kind":"display","data":{"text/plain":1}}',
        b'{"kind":"display","data":{"%s":"x"}}' % (b"k" * 256),
        json.dumps({"kind": "display", "data": dict.fromkeys(map(str, range(17)), "")}).encode(),
        b'{"kind":"file","name":"a","data":"no base64!","more":false}',
        b'{"kind":"file","name":"a","data":"","more":0}',
        b'{"kind":"file","name":null,"data":"","more":true}',
        b"[" * 100_000,
    ],
    ids=range(17),
)
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        read_all(framed(body), 4096)
