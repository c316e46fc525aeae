"""Head and tail of a stream, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from python_executor._capture import Capture


def captured(chunks: list[bytes], limit: int) -> Capture:
    capture = Capture(limit)
    for chunk in chunks:
        capture.add(chunk)
    return capture


@given(chunks=st.lists(st.binary(max_size=20), max_size=20), limit=st.integers(1, 60))
def test_short_streams_are_whole_and_long_ones_keep_both_ends(
    chunks: list[bytes], limit: int
) -> None:
    data = b"".join(chunks)
    capture = captured(chunks, limit)
    assert capture.total == len(data)
    assert capture.truncated == (len(data) > limit)
    text = capture.text()
    if not capture.truncated:
        assert text == data.decode(errors="replace")
    else:
        _, mark, tail = text.rpartition("\n... [")
        assert mark
        cut = int(tail.split()[0])
        assert cut >= len(data) - limit


@given(text=st.text(alphabet="aé漢🐍", min_size=1), limit=st.integers(1, 40))
def test_no_character_is_cut_in_two(text: str, limit: int) -> None:
    capture = captured([text.encode()[i : i + 3] for i in range(0, len(text.encode()), 3)], limit)
    assert "\ufffd" not in capture.text()


def test_a_long_stream_does_not_grow() -> None:
    capture = Capture(1000)
    for _ in range(10_000):
        capture.add(b"x" * 100)
    assert capture._tail_size < 1000
    assert capture.total == 1_000_000
