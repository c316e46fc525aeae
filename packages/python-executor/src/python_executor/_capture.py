"""What a program writes to one stream: all of it if short, head and tail if long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

MARK = "\n... [{} bytes cut] ...\n"


class Capture:
    """Keeps at most ``limit`` bytes, half from the head and half from the tail.

    Args:
        limit: bytes to keep.

    Attributes:
        total: bytes written so far.
        also: called with all bytes as they come, if anything.
    """

    __slots__ = (
        "_head",
        "_head_limit",
        "_head_size",
        "_tail",
        "_tail_limit",
        "_tail_size",
        "also",
        "total",
    )

    def __init__(self, limit: int) -> None:
        self.total = 0
        self.also: Callable[[bytes], object] | None = None
        self._head: list[bytes] = []
        self._head_size = 0
        self._head_limit = limit - limit // 2
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._tail_limit = limit // 2

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        if self.also is not None:
            self.also(data)
        self.total += len(data)
        room = self._head_limit - self._head_size
        if room > 0:
            self._head.append(data[:room])
            self._head_size += min(room, len(data))
            data = data[room:]
        if data:
            self._tail.append(data)
            self._tail_size += len(data)
            while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_limit:
                self._tail_size -= len(self._tail.popleft())

    @property
    def truncated(self) -> bool:
        """Whether bytes were dropped."""
        return self.total > self._head_limit + self._tail_limit

    def text(self) -> str:
        """Return what was kept, a mark where something was cut; what isn't UTF-8 becomes U+FFFD."""
        head = b"".join(self._head)
        tail = b"".join(self._tail)
        if not self.truncated:
            return (head + tail).decode(errors="replace")
        tail = tail[len(tail) - self._tail_limit :]
        head, tail = _whole_end(head), _whole_start(tail)
        mark = MARK.format(self.total - len(head) - len(tail))
        return head.decode(errors="replace") + mark + tail.decode(errors="replace")


def _whole_end(data: bytes) -> bytes:
    """Drop a UTF-8 character that was cut at the end."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:  # the first byte of a character of 2, 3 or 4
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if size > back else data
        if byte < 0x80:
            break
    return data


def _whole_start(data: bytes) -> bytes:
    """Drop the rest of a UTF-8 character that was cut at the start."""
    for start in range(min(4, len(data))):
        if data[start] & 0xC0 != 0x80:
            return data[start:]
    return data if len(data) >= 4 else b""
