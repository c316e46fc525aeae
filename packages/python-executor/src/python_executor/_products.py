"""What a program sends beside its result, collected within limits: displays and files."""

from __future__ import annotations

from python_executor._file_names import collision_in, problem_with
from python_executor._frames import Display, File, FrameError

# As in _child/displays.py and _child/files.py. An interpreter of ours keeps to them, so one that
# doesn't is none.
DISPLAY_COUNT = 100
FILE_COUNT = 1000
# Least size of a piece that isn't the last of its file (bytes): a file can't come in a million.
PIECE = 65536


class Products:
    """Displays and files of one program.

    Args:
        limit: bytes of all files, and characters of all displays.

    Attributes:
        displays: MIME bundles, as they came.
    """

    def __init__(self, limit: int) -> None:
        self.displays: list[dict[str, str]] = []
        self._files: dict[str, bytearray] = {}
        self._open: str | None = None  # the file of which more is to come
        self._bytes_left = limit
        self._characters_left = limit

    def add_display(self, frame: Display) -> None:
        """Take a display.

        Raises:
            FrameError: there are too many, or they are too large.
        """
        self._characters_left -= sum(map(len, frame.data.values()))
        if self._characters_left < 0 or len(self.displays) == DISPLAY_COUNT:
            raise FrameError("too many displays")
        self.displays.append(frame.data)

    def add_file(self, frame: File) -> None:
        """Take a file or a piece of one.

        Raises:
            FrameError: they are too large or too many, a name is bad, or pieces don't fit together.
        """
        self._bytes_left -= len(frame.data)
        if self._bytes_left < 0:
            raise FrameError("too many bytes of files")
        if frame.more and len(frame.data) < PIECE:
            raise FrameError("a file in too small pieces")
        if self._open is not None:
            if frame.name != self._open:
                raise FrameError("a file in the middle of another")
        else:
            self._begin(frame.name)
        self._files[frame.name] += frame.data
        self._open = frame.name if frame.more else None

    def _begin(self, name: str) -> None:
        problem = problem_with(name)
        if problem is not None:
            raise FrameError(f"a file whose name {problem}")
        if name in self._files:
            raise FrameError("a file twice")
        if len(self._files) == FILE_COUNT:
            raise FrameError("too many files")
        self._files[name] = bytearray()

    def check(self) -> None:
        """See that nothing is missing, when the result is there.

        Raises:
            FrameError: a file is not complete, or one would have to be a directory as well.
        """
        if self._open is not None:
            raise FrameError("a file without its end")
        if (collision := collision_in(self._files)) is not None:
            raise FrameError(f"the file {collision[0]!r} and the file {collision[1]!r} in it")

    def take_files(self) -> dict[str, bytes]:
        """Return the files. They are kept only once, so this works only once."""
        files = {}
        while self._files:
            name, data = self._files.popitem()
            files[name] = bytes(data)
        return dict(sorted(files.items()))
