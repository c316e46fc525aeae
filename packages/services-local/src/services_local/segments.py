"""Large buffers between two processes, in shared memory instead of through the socket.

    sender                                        receiver
        copies the buffer into a segment    ->    maps it, unpickles arrays onto it: no copy
        keeps the segment                         an array lives as long as anybody holds it
        copies the next buffer into it      <-    says with its next frame what it holds no more

A segment is a memfd (memfd_create(2)) whose descriptor goes along with a frame (SCM_RIGHTS). Most
of what a first copy takes is the kernel's, which has to find the memory: 64 MB take six times as
long as into memory that is there. So a segment is used again once the receiver has given it back.
"""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
from collections.abc import Iterable, Sequence

from services_local import forks
from services_local.errors import WireError
from services_local.receiving import Received

# What a process keeps to use again, free or under way: a second large array fits, and one that once
# had much to send doesn't hold on to all of it.
_KEPT_BYTES = 128 << 20
_KEPT_SEGMENTS = 32

# A page has as many bytes, or less; one write takes less than 2 GB (write(2)).
_WRITE_BYTES = 1 << 30

AVAILABLE = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")


class Segment:
    """Shared memory that one buffer at a time is copied into.

    Args:
        raw: The first one; the segment is as large.

    Attributes:
        number: What the receiver calls it when it gives it back; 0 if it needn't.
        size: Bytes of the buffer that is in it.
        unsent: How many frames need its descriptor, because they are being made or written. More
            than one, for a moment: the receiver may have given it back, and another thread be using
            it again, before the thread that wrote the last one has said so.
    """

    def __init__(self, raw: memoryview) -> None:
        self.number = 0
        self.size = self.capacity = raw.nbytes
        self.unsent = 1
        self._mapping: mmap.mmap | None = None
        self.descriptor = os.memfd_create("service", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            # Not through a mapping: its page faults would take twice as long as the copy.
            done = 0
            while done < raw.nbytes:
                done += os.pwrite(self.descriptor, raw[done : done + _WRITE_BYTES], done)
            # Cut short under a mapping, it would kill the receiver with SIGBUS.
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        except BaseException:
            os.close(self.descriptor)
            raise

    def fill(self, raw: memoryview) -> None:
        """Copy another buffer into it, of its capacity at most."""
        if self._mapping is None:
            populate = getattr(mmap, "MAP_POPULATE", 0)
            self._mapping = mmap.mmap(
                self.descriptor, self.capacity, flags=mmap.MAP_SHARED | populate
            )
        self._mapping[: raw.nbytes] = raw
        self.size = raw.nbytes

    def close(self) -> None:
        """Let go of it, once; the memory goes with the last mapping of the receiver."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        if self._mapping is not None:
            self._mapping.close()


class _Pool:
    """The segments that this process keeps to use again.

    Nobody forks while they are counted: a child has to let go of them, and can't wait for a lock.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._start_afresh()
        os.register_at_fork(after_in_child=self._restart_in_child)

    def fill(self, raw: memoryview) -> Segment:
        """A segment with a copy of that buffer."""
        segment = self._take(raw.nbytes)
        if segment is None:
            segment = Segment(raw)
            self._keep(segment)
            return segment
        try:
            segment.fill(raw)
        except BaseException:
            self.drop(segment)
            raise
        return segment

    def sent(self, segment: Segment) -> None:
        """A frame with it is on its way."""
        with forks.no_fork():
            segment.unsent -= 1

    def give_back(self, segment: Segment) -> None:
        """Use it again, unless it had to go meanwhile: nobody reads it any more."""
        with forks.no_fork():
            if segment in self._kept:
                self._free.append(segment)

    def drop(self, segment: Segment) -> None:
        """Let go of a segment, which somebody may still read."""
        with forks.no_fork():
            self._kept.pop(segment, None)
        segment.close()

    def _take(self, size: int) -> Segment | None:
        with forks.no_fork():
            fitting = [s for s in self._free if size <= s.capacity <= 4 * size]
            if not fitting:
                return None
            best = min(fitting, key=lambda segment: segment.capacity)
            self._free.remove(best)
            best.unsent += 1
            return best

    def _keep(self, segment: Segment) -> None:
        dropped = []
        with forks.no_fork():
            while not self._has_room(segment.capacity) and (oldest := self._oldest()) is not None:
                del self._kept[oldest]
                dropped.append(oldest)
            if self._has_room(segment.capacity):
                segment.number = next(self._numbers)
                self._kept[segment] = None
        for each in dropped:
            each.close()

    def _oldest(self) -> Segment | None:
        """What to let go of: what is free, or what a receiver has had longest, and may keep."""
        if self._free:
            return self._free.pop(0)
        return next((segment for segment in self._kept if not segment.unsent), None)

    def _has_room(self, size: int) -> bool:
        kept = sum(segment.capacity for segment in self._kept)
        return kept + size <= _KEPT_BYTES and len(self._kept) < _KEPT_SEGMENTS

    def _start_afresh(self) -> None:
        self._free: list[Segment] = []
        self._kept: dict[Segment, None] = {}  # in the order in which they were made

    def _restart_in_child(self) -> None:
        # They are the parent's, which copies its next buffers into them.
        kept = self._kept
        self._start_afresh()
        for segment in kept:
            segment.close()


_pool = _Pool()


class Exchange(Received):
    """What goes to and fro on one connection."""

    def __init__(self) -> None:
        super().__init__()
        self._under_way: dict[int, Segment] = {}

    def send(self, raws: Iterable[memoryview]) -> list[Segment]:
        """Segments with copies of these buffers; then either `sent` or `cancel` is called.

        Raises:
            OSError: There is no memory, or no descriptor left.
        """
        segments: list[Segment] = []
        try:
            for raw in raws:
                segments.append(_pool.fill(raw))  # noqa: PERF401 - to be found if the next fails
        except BaseException:
            for segment in segments:
                _pool.drop(segment)
            raise
        self._under_way |= {segment.number: segment for segment in segments if segment.number}
        return segments

    def sent(self, segments: Sequence[Segment]) -> None:
        """These segments are on their way: close those that are not kept to be used again."""
        for segment in segments:
            _pool.sent(segment)
            if not segment.number:
                segment.close()

    def cancel(self, segments: Sequence[Segment]) -> None:
        """These segments were not sent."""
        for segment in segments:
            if self._under_way.pop(segment.number, segment) is segment:
                _pool.drop(segment)

    def take_back(self, numbers: Iterable[int]) -> None:
        """Called with what the receiver gives back.

        Raises:
            WireError: It doesn't have it.
        """
        for number in numbers:
            segment = self._under_way.pop(number, None)
            if segment is None:
                raise WireError(f"segment {number} is not under way")
            _pool.give_back(segment)

    def close(self) -> None:
        """The connection is closed: what is under way will not be given back."""
        super().close()
        while self._under_way:
            _pool.drop(self._under_way.popitem()[1])
