"""What a receiver makes of the segments that come (`services_local.segments`).

A receiver that holds on to what it was given copies what comes next out of its segment, and gives
that back at once: into huge pages, where the kernel finds the memory as fast as the copy goes.

The receiver maps privately: what it writes into an array stays its own, also between it and a child
that it forks. The child goes on reading the segment when its parent has let go of it, so what was
mapped during a fork is never given back.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import weakref
from collections import deque
from typing import Any

from services_local.errors import WireError

# Before Python 3.13 each mapping holds a descriptor, of which a process often has no more than
# 1024. Beyond these a buffer is copied out of its segment.
_MAX_MAPPINGS = 128

# Buffers that are held without having been copied. A caller still has the last result when the next
# comes; who has more of them keeps them, as a replay buffer does.
_HELD = 2

# From here on huge pages are worth it (bytes): one has as many.
_HUGE = 2 << 20

# A page has as many bytes, or less; one read takes less than 2 GB (read(2)).
_READ_BYTES = 1 << 30


class Received:
    """The large buffers that have come on one connection."""

    def __init__(self) -> None:
        # What to give back with the next frame.
        self.let_go: deque[int] = deque()
        self._held: set[object] = set()
        self._sources = _Sources()

    @property
    def holds_enough(self) -> bool:
        """Whether so much of what has come is still held that the next is better copied."""
        return len(self._held) >= _HELD

    def receive(
        self, descriptor: int, size: int, number: int, *, copy: bool = False
    ) -> mmap.mmap | bytearray:
        """The buffer in a segment of the peer; closes the descriptor.

        Args:
            descriptor: The segment's.
            size: Bytes of the buffer.
            number: What to give the segment back by, or 0.
            copy: Whether to copy it, if the segment can be given back.

        Raises:
            WireError: It is no segment, or is too small.
        """
        try:
            _check(descriptor, size)
            if len(_mappings) < _MAX_MAPPINGS and not (copy and number):
                with contextlib.suppress(OSError):  # no descriptor left after all
                    mapping = mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE)
                    _watch(mapping, number, self.let_go, self._held)
                    return mapping
            if not number:
                return _copy(descriptor, size)
            copied = self._sources.copy(descriptor, size, number)
            self.let_go.append(number)
            return copied
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """The connection is closed."""
        self._sources.close()


class _Sources:
    """Mappings of the segments that were copied from last, since they soon come again.

    To map 64 MB takes longer than to copy them.
    """

    def __init__(self) -> None:
        self._mappings: dict[int, mmap.mmap] = {}

    def copy(self, descriptor: int, size: int, number: int) -> mmap.mmap | bytearray:
        """A copy of the buffer in that segment."""
        source = self._mappings.pop(number, None)
        if source is None or len(source) < size:
            try:
                source = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
            except OSError:  # no descriptor left
                return _copy(descriptor, size)
        self._mappings[number] = source
        if len(self._mappings) > _HELD:
            self._mappings.pop(next(iter(self._mappings))).close()
        copied = _memory(size)
        with memoryview(source) as view, memoryview(copied) as target:
            target[:] = view[:size]
        return copied

    def close(self) -> None:
        """Let go of all."""
        while self._mappings:
            self._mappings.popitem()[1].close()


def _check(descriptor: int, size: int) -> None:
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:  # no memfd
        raise WireError("a descriptor that is no segment") from error
    if not seals & fcntl.F_SEAL_SHRINK or not 0 < size <= os.fstat(descriptor).st_size:
        raise WireError("a segment that is too small, or could become so")


def _copy(descriptor: int, size: int) -> mmap.mmap | bytearray:
    copied = _memory(size)
    view = memoryview(copied)
    done = 0
    while done < size:
        count = os.preadv(descriptor, [view[done : done + _READ_BYTES]], done)
        if not count:
            raise WireError("a segment with an end before its size")
        done += count
    return copied


def _memory(size: int) -> mmap.mmap | bytearray:
    """New memory of this process's own."""
    if size < _HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return bytearray(size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


class _Forks:
    """Counts the forks of this process, and knows whether one is under way."""

    count = 0
    under_way = False

    @classmethod
    def before(cls) -> None:
        cls.count += 1
        cls.under_way = True

    @classmethod
    def after(cls) -> None:
        cls.count += 1
        cls.under_way = False


os.register_at_fork(before=_Forks.before, after_in_parent=_Forks.after, after_in_child=_Forks.after)

_mappings: set[Any] = set()


def _watch(mapping: mmap.mmap, number: int, let_go: deque[int], held: set[object]) -> None:
    """Note that a segment is given back when its mapping goes."""
    forks = _Forks.count
    token = object()
    _mappings.add(token)
    held.add(token)

    def gone() -> None:  # may run anywhere, in any thread: no locks, no sockets
        _mappings.discard(token)
        held.discard(token)
        if number and forks == _Forks.count and not _Forks.under_way:
            let_go.append(number)

    weakref.finalize(mapping, gone).atexit = False
