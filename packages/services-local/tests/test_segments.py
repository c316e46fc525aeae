"""Large arrays go through shared memory, and behave as if they had been copied."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from services_core import Handle, ServiceBase, ServiceTimeoutError
from services_core.testing.observing import eventually
from services_local import receiving, segments, wire
from services_local.reading import Reader
from services_local.segments import Exchange

Array = npt.NDArray[np.float64]

MEGABYTE = 1 << 17  # numbers of 8 bytes


@pytest.fixture(params=[1, 2])
def keeper(services: ServiceBase, request: pytest.FixtureRequest) -> Handle:
    """A service that is given arrays and gives some, in its main thread or in threads."""

    class Keeper:
        def __init__(self) -> None:
            self._kept: list[Any] = []

        def keep(self, value: Any) -> int:
            self._kept.append(value)
            return len(self._kept)

        def double(self, value: Any) -> Any:
            value *= 2
            return value

        def kept(self, number: int) -> Any:
            return self._kept[number]

        def forget(self) -> None:
            self._kept.clear()

        def numbers(self, count: int) -> Iterator[Any]:
            for number in range(count):
                yield np.full(MEGABYTE, float(number))

        def wait(self, value: Any, path: str) -> None:
            assert eventually(lambda: Path(path).exists())

        def unsendable(self) -> Any:
            return np.zeros(MEGABYTE), threading.Lock()

        def pid(self) -> int:
            return os.getpid()

        def descriptors_of_a_child(self) -> int:
            child = os.fork()
            if child == 0:
                os._exit(len(list(Path("/proc/self/fd").iterdir())))
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    return services.register("keeper", Keeper, max_concurrency=request.param)


def open_segments(keeper: Handle | None = None) -> int:
    """Descriptors of segments in this process or a service, those of mappings included."""
    found = 0
    process = "self" if keeper is None else keeper.pid()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            found += "memfd:service" in str(descriptor.readlink())
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


def open_when_warm(keeper: Handle, array: Array) -> tuple[int, int]:
    """The segments of both sides when there are those to use again."""
    for _ in range(5):
        keeper.double(array)
    gc.collect()
    return open_segments(), open_segments(keeper)


def noted_segments(monkeypatch: pytest.MonkeyPatch) -> list[segments.Segment]:
    """A list to which each segment that this process makes from now on is added."""
    made: list[segments.Segment] = []

    class Noted(segments.Segment):
        def __init__(self, raw: memoryview) -> None:
            super().__init__(raw)
            made.append(self)

    monkeypatch.setattr(segments, "Segment", Noted)
    return made


def test_what_one_side_writes_the_other_doesnt_see(keeper: Handle) -> None:
    ours = np.arange(MEGABYTE, dtype=np.float64)
    theirs = keeper.double(ours)
    assert ours[3] == 3
    assert theirs[3] == 6
    keeper.keep(theirs)
    theirs += 1  # writable, like any array that was unpickled
    assert keeper.kept(0)[3] == 6


def test_what_is_kept_stays_as_it_was(keeper: Handle) -> None:
    arrays = [np.full(MEGABYTE, float(number)) for number in range(6)]
    for array in arrays:
        keeper.keep(array)
        keeper.double(array)  # goes through a segment that is given back
        keeper.keep.submit(array).result(30)
    results = [keeper.kept(number) for number in range(12)]
    for number, result in enumerate(results):
        assert (result == number // 2).all()
    futures = [keeper.double.submit(array) for array in arrays]
    assert [future.result(30)[0] for future in futures] == [2.0 * n for n in range(6)]
    assert (results[11] == 5).all()


def test_a_stream_of_arrays_can_be_collected(keeper: Handle) -> None:
    collected = list(keeper.numbers(5))
    assert [array[-1] for array in collected] == [0, 1, 2, 3, 4]
    for number, array in enumerate(keeper.numbers(5)):
        assert (array == number).all()
    assert [array[-1] for array in collected] == [0, 1, 2, 3, 4]


def test_everything_large_travels(keeper: Handle) -> None:
    many = [np.full(MEGABYTE // 4, float(number)) for number in range(40)]
    keeper.keep({"many": many, "bytes": b"b" * 3_000_000, "fortran": np.asfortranarray(many)})
    back = keeper.kept(0)
    assert [array[0] for array in back["many"]] == list(range(40))
    assert back["bytes"] == b"b" * 3_000_000
    assert np.array_equal(back["fortran"], np.asfortranarray(many))
    assert keeper.double(np.zeros(0)).size == 0
    frozen = np.zeros(MEGABYTE)
    frozen.setflags(write=False)
    keeper.keep(frozen)
    assert not keeper.kept(1).flags.writeable


def test_a_segment_is_used_again_when_its_array_is_gone(keeper: Handle) -> None:
    array = np.zeros(MEGABYTE)
    before = open_when_warm(keeper, array)
    for _ in range(50):
        keeper.double(array)
    assert (open_segments(), open_segments(keeper)) == before


def test_arrays_that_are_kept_take_no_memory_from_those_that_are_not(
    keeper: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_KEPT_BYTES", 4 * 8 * MEGABYTE)
    array = np.ones(MEGABYTE)
    for _ in range(6):
        keeper.keep(array)
    made = noted_segments(monkeypatch)
    for _ in range(12):
        keeper.double(array)
    assert len(made) <= 4  # the first ones, until what was given back can be used again
    assert np.array_equal(keeper.kept(0), array)


def test_a_service_that_keeps_arrays_gives_their_segments_back(
    keeper: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = noted_segments(monkeypatch)
    arrays = [np.full(3 * MEGABYTE, float(number)) for number in range(12)]
    for array in arrays:
        keeper.keep(array)
    assert len(made) <= 6  # the two that it holds, and a few until the others come back
    for number, array in enumerate(arrays):
        kept = keeper.kept(number)
        assert np.array_equal(kept, array)
        kept += 1  # it is the caller's own
        assert np.array_equal(keeper.kept(number), array)
    held = [keeper.kept(number) for number in range(12)]  # the caller keeps them too
    assert all(map(np.array_equal, held, arrays))


def test_more_buffers_go_along_than_are_kept(
    keeper: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_KEPT_BYTES", 2 * 8 * MEGABYTE)
    arrays = [np.full(MEGABYTE, float(number)) for number in range(6)]
    assert [keeper.keep(arrays), keeper.keep(arrays)] == [1, 2]
    for number in range(2):
        assert all(map(np.array_equal, keeper.kept(number), arrays))


def test_more_arrays_may_be_kept_than_a_process_may_have_files(keeper: Handle) -> None:
    array = np.zeros(MEGABYTE // 8)
    for number in range(receiving._MAX_MAPPINGS + 40):
        array[:] = number
        keeper.keep(array)
    assert open_segments(keeper) <= receiving._MAX_MAPPINGS + segments._KEPT_SEGMENTS * 2
    assert [keeper.kept(number)[-1] for number in (0, 50, 130, 160)] == [0, 50, 130, 160]
    keeper.forget()
    assert eventually(lambda: open_segments(keeper) < segments._KEPT_SEGMENTS * 2)


def test_what_is_being_sent_makes_room_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = memoryview(bytes(1 << 17)), memoryview(bytes(1 << 18))
    monkeypatch.setattr(segments, "_pool", segments._Pool())
    monkeypatch.setattr(segments, "_KEPT_BYTES", large.nbytes)
    ours, theirs = Exchange(), Exchange()
    [segment] = ours.send([small])
    ours.take_back([segment.number])  # by a receiver that is faster than the thread that sends

    class Interrupted(segments.Segment):
        def fill(self, raw: memoryview) -> None:
            ours.sent([segment])  # now that thread goes on
            theirs.sent(theirs.send([large]))
            super().fill(raw)

    segment.__class__ = Interrupted
    assert theirs.send([small]) == [segment]
    theirs.sent(theirs.send([large]))
    assert "memfd:service" in str(Path(f"/proc/self/fd/{segment.descriptor}").readlink())
    theirs.sent([segment])
    theirs.sent(theirs.send([large]))
    assert segment.descriptor < 0  # the receiver's now, who may keep it
    for exchange in (ours, theirs):
        exchange.close()


def test_what_cant_be_filled_again_is_let_go_of(
    keeper: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "_pool", segments._Pool())

    class Full(segments.Segment):
        def fill(self, raw: memoryview) -> None:
            raise OSError(errno.EMFILE, "too many open files")

    array = np.ones(MEGABYTE)
    with monkeypatch.context() as full:
        full.setattr(segments, "Segment", Full)
        for _ in range(6):
            assert (keeper.double(array) == 2).all()
    assert len(segments._pool._kept) <= 2


def test_a_child_keeps_what_its_parent_lets_go_of(keeper: Handle) -> None:
    keeper.keep(np.full(MEGABYTE, 1.0))
    keeper.keep(np.full(MEGABYTE, 2.0))
    array = keeper.kept(0)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.read(told, 1)  # until the parent has let go of it, and got others
            code = 0 if (array == 1).all() else 2
        finally:
            os._exit(code)
    del array
    for _ in range(5):
        assert (keeper.kept(1) == 2).all()
        keeper.double(np.full(MEGABYTE, 3.0))
    os.write(tell, b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(told)
    os.close(tell)


def test_a_child_sends_arrays_of_its_own(keeper: Handle) -> None:
    array = np.full(MEGABYTE, 1.0)
    assert (keeper.double(array) == 2).all()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            array[:] = 5.0
            code = 0 if all((keeper.double(array) == 10).all() for _ in range(20)) else 2
        finally:
            os._exit(code)
    assert all((keeper.double(array) == 2).all() for _ in range(20))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_of_the_service_holds_no_segments_of_it(keeper: Handle) -> None:
    keeper.keep(np.zeros(MEGABYTE))
    before = keeper.descriptors_of_a_child()
    held = [keeper.kept(0) for _ in range(3)]
    assert keeper.descriptors_of_a_child() == before
    assert len(held) == 3


def test_no_descriptor_is_left_by_what_fails(keeper: Handle, tmp_path: Path) -> None:
    array = np.zeros(MEGABYTE)
    before = open_when_warm(keeper, array)
    for _ in range(5):
        with pytest.raises(TypeError, match="pickle"):
            keeper.keep([array, threading.Lock()])
        with pytest.raises(TypeError, match="pickle"):
            keeper.unsendable()
    for number in range(3):
        gate = tmp_path / str(number)
        with pytest.raises(ServiceTimeoutError):
            keeper.wait.options(timeout=0.02)(array, str(gate))
        gate.touch()
    keeper.double(array)
    gc.collect()
    assert open_segments() <= before[0]
    assert eventually(lambda: open_segments(keeper) <= before[1])


def test_no_program_that_is_started_inherits_a_segment(keeper: Handle) -> None:
    keeper.keep(np.zeros(MEGABYTE))
    array = keeper.kept(0)
    for descriptor in Path("/proc/self/fd").iterdir():
        if descriptor.exists() and "memfd:service" in str(descriptor.readlink()):
            assert not os.get_inheritable(int(descriptor.name))
    assert array[0] == 0


def test_without_shared_memory_arrays_go_through_the_socket(
    keeper: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    array = np.arange(MEGABYTE, dtype=np.float64)
    with monkeypatch.context() as none_left:
        none_left.setattr(os, "memfd_create", fail)
        assert np.array_equal(keeper.double(array), array * 2)
    with monkeypatch.context() as macos:
        macos.setattr(wire, "AVAILABLE", False)
        assert np.array_equal(keeper.double(array), array * 2)
    assert np.array_equal(keeper.double(array), array * 2)


def test_what_may_not_go_along_goes_through_the_socket() -> None:
    class Crowded:
        """A socket of a user whose processes have too many descriptors under way."""

        def __init__(self, connection: socket.socket) -> None:
            self._connection = connection

        def sendmsg(self, *_: object) -> int:
            raise OSError(errno.ETOOMANYREFS, "too many references")

        def send(self, data: bytes, flags: int) -> int:
            return self._connection.send(data, flags)

    ours, theirs = socket.socketpair()
    before = open_segments()
    with ours, theirs:
        array = np.arange(MEGABYTE, dtype=np.float64)
        exchange = Exchange()
        frame = wire.encode(1, wire.CALL, array, exchange)
        crowded: Any = Crowded(ours)

        def write() -> None:
            rest: wire.Encoded | None = frame
            while rest is not None:
                rest = wire.write(crowded, rest)

        threading.Thread(target=write, daemon=True).start()
        reader = Reader(theirs, Exchange())
        while (received := reader.read()) is None:
            pass
        assert np.array_equal(received.take_content(), array)
        exchange.close()
    assert open_segments() <= before


def test_a_segment_that_can_be_cut_short_is_refused() -> None:
    descriptor = os.memfd_create("cut", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096)
    with pytest.raises(ConnectionError, match="too small"):
        Exchange().receive(os.dup(descriptor), 4096, 0)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    mapping = Exchange().receive(descriptor, 4096, 0)
    assert len(mapping) == 4096
