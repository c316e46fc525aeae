"""What an interpreter sends beside its result is taken within limits, or refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from python_executor import PythonExecutorService
from python_executor._child import displays as child_displays
from python_executor._child import files as child_files
from python_executor._child import frames as child_frames
from python_executor._file_names import NAME_LIMIT, collision_in, problem_with
from python_executor._frames import FRAME_LIMIT, Display, File, FrameError
from python_executor._products import DISPLAY_COUNT, FILE_COUNT, PIECE, Products


def whole(name: str, data: bytes = b"") -> File:
    return File(name, data, more=False)


def piece(name: str, size: int = PIECE) -> File:
    return File(name, bytes(size), more=True)


def test_both_sides_have_the_same_limits() -> None:
    assert child_files.COUNT == FILE_COUNT
    assert child_files.NAME_LIMIT == NAME_LIMIT
    assert child_files.PIECE >= PIECE
    assert child_displays.COUNT == DISPLAY_COUNT
    assert child_frames.FRAME_LIMIT == FRAME_LIMIT


def test_files_are_put_together_from_their_pieces() -> None:
    products = Products(1 << 20)
    for frame in (whole("b", b"1"), piece("a"), piece("a"), whole("a", b"end"), whole("c/d")):
        products.add_file(frame)
    products.check()
    files = products.take_files()
    assert files == {"a": bytes(2 * PIECE) + b"end", "b": b"1", "c/d": b""}
    assert list(files) == ["a", "b", "c/d"]


REFUSED = {
    "absolute": [whole("/etc/passwd")],
    "parent": [whole("a/../../b")],
    "empty": [whole("")],
    "long": [whole("x" * 2000)],
    "twice": [whole("a"), whole("a")],
    "again": [piece("a"), whole("a"), piece("a")],
    "mixed": [piece("a"), whole("b")],
    "small piece": [File("a", bytes(PIECE - 1), more=True)],
    "empty piece": [File("a", b"", more=True)],
    "too large": [whole("a", bytes(1 << 20)), whole("b", b"x")],
    "too many": [whole(str(i)) for i in range(FILE_COUNT + 1)],
    "unfinished": [piece("a")],
    "collision": [whole("a/b"), whole("a")],
}


def take(products: Products, frames: Iterable[File]) -> None:
    for frame in frames:
        products.add_file(frame)
    products.check()


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_an_interpreter_of_ours_would_not_send_are_refused(name: str) -> None:
    with pytest.raises(FrameError):
        take(Products(1 << 20), REFUSED[name])


def test_displays_are_counted_and_measured() -> None:
    products = Products(1000)
    products.add_display(Display({"text/plain": "x" * 600, "text/html": "y" * 400}))
    with pytest.raises(FrameError):
        products.add_display(Display({"text/plain": "x"}))
    products = Products(1000)
    for _ in range(DISPLAY_COUNT):
        products.add_display(Display({}))
    with pytest.raises(FrameError):
        products.add_display(Display({}))


def test_the_bytes_that_are_held_stay_below_the_limit() -> None:
    products = Products(10 * PIECE)
    for _ in range(10):
        products.add_file(piece("a"))
    with pytest.raises(FrameError):
        products.add_file(piece("a"))
    with pytest.raises(FrameError):
        products.add_file(File("a", b"x", more=False))


GOOD = ["a", "b", "a.b", "...", "ü", "\\", "\n", "x" * 255]
BAD = ["", ".", "..", "\0", "\ud800", "x" * 256]


@settings(deadline=None)
@given(parts=st.lists(st.sampled_from(GOOD + BAD), max_size=3), leading=st.booleans())
def test_a_good_name_stays_below_its_directory(parts: list[str], *, leading: bool) -> None:
    name = leading * "/" + "/".join(parts)
    good = bool(parts) and not leading and set(parts) <= set(GOOD)
    assert (problem_with(name) is None) == good
    if good:
        assert os.path.normpath(f"/top/{name}") == f"/top/{name}"


@given(names=st.lists(st.lists(st.sampled_from("ab-0"), min_size=1, max_size=4), max_size=8))
def test_collisions_are_those_of_a_file_system(names: list[list[str]]) -> None:
    flat = {"/".join(parts) for parts in names}
    expected = {(upper, lower) for upper in flat for lower in flat if lower.startswith(f"{upper}/")}
    found = collision_in(flat)
    assert found in expected if expected else found is None


def forge(*frames: dict[str, object]) -> str:
    data = b"".join(child_frames.encode(frame) for frame in frames)
    return (
        "import os, time\nprint('kept', flush=True)\n"
        f"data = {data!r}\nwhile data: data = data[os.write(255, data):]\ntime.sleep(1000)"
    )


DISPLAY: dict[str, object] = {"kind": "display", "data": {"text/plain": "shown"}}
FORGED_FILE: dict[str, object] = {"kind": "file", "name": "a", "data": "eA==", "more": False}
RESULT: dict[str, object] = {
    "kind": "result",
    "returncode": 0,
    "value": None,
    "error": None,
    "truncated": False,
}


@pytest.mark.parametrize(
    "frames",
    [
        [DISPLAY] * (DISPLAY_COUNT + 1),
        [FORGED_FILE | {"name": "../../evil"}],
        [FORGED_FILE | {"name": "/etc/passwd"}],
        [FORGED_FILE, FORGED_FILE],
        [FORGED_FILE, FORGED_FILE | {"name": "a/b"}, RESULT],
        [FORGED_FILE | {"more": True}],
    ],
    ids=["displays", "parent", "absolute", "twice", "collision", "piece"],
)
def test_a_forged_product_is_a_crash_of_the_program(
    executor: PythonExecutorService, frames: list[dict[str, object]]
) -> None:
    result = executor.execute(forge(*frames))
    assert (result["status"], result["returncode"], result["stdout"]) == ("crashed", -9, "kept\n")
    assert result["error"] is not None
    assert "protocol" in result["error"]["message"]
    assert result["files"] == {}
    assert executor.execute("1 + 1")["value"] == "2"


def test_an_endless_stream_of_frames_ends_the_program_and_needs_little_memory() -> None:
    # Each frame is small once it is taken apart, and may come as it is.
    padded = json.dumps(DISPLAY | {"data": {}}).encode() + b" " * (1 << 20)
    code = (
        f"import os\ndata = (len({padded!r})).to_bytes(4, 'big') + {padded!r}\n"
        "for _ in range(99):\n    rest = data\n    while rest: rest = rest[os.write(255, rest):]"
    )
    with PythonExecutorService(pool_size=1, timeout=60.0, max_files=1000) as executor:
        result = executor.execute(code)
        assert result["status"] == "crashed"
        assert result["error"] is not None
        assert "together" in result["error"]["message"]
        assert executor.execute("1 + 1")["value"] == "2"


def test_displays_of_a_forger_are_its_own(executor: PythonExecutorService) -> None:
    result = executor.execute(forge(DISPLAY, FORGED_FILE, RESULT))
    assert (result["displays"], result["files"]) == ([{"text/plain": "shown"}], {"a": b"x"})
    after = executor.execute_batch(["1"] * 4)
    assert [(r["displays"], r["files"]) for r in after] == [([], {})] * 4
