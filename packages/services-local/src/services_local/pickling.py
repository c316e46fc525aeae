"""How values become bytes: pickle 5, with large buffers apart, and `__main__` by value."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any, ClassVar


class Apart:
    """Takes the large buffers of a value out of its pickle (PEP 574).

    Attributes:
        buffers: What it has taken.
    """

    least: ClassVar[int] = 1 << 17
    """Bytes that a buffer has to have; smaller ones are cheaper in the pickle."""

    most: ClassVar[int] = 16
    """How many are taken, of each value."""

    __slots__ = ("buffers",)

    def __init__(self) -> None:
        self.buffers: list[memoryview] = []

    def keep_in_band(self, buffer: pickle.PickleBuffer) -> bool:
        """Called by the pickler with each buffer."""
        raw = buffer.raw()
        if raw.nbytes < self.least or len(self.buffers) == self.most:
            return True
        self.buffers.append(raw)
        return False


def dumps(value: Any, apart: Apart | None = None) -> bytes:
    """Pickle a value; classes and functions of `__main__` go by value.

    Args:
        value: What to pickle.
        apart: Takes buffers, such as the data of arrays, which whoever unpickles then has to have.
    """
    callback = None if apart is None else apart.keep_in_band
    try:
        data = pickle.dumps(value, protocol=5, buffer_callback=callback)
    except (pickle.PicklingError, AttributeError, TypeError):
        pass  # a lambda, say: by value
    else:
        # By reference it would be looked up in the other process's __main__, which is another; the
        # main script's name in a process that it has spawned is __mp_main__.
        if b"main__" not in data or (b"__main__" not in data and b"__mp_main__" not in data):
            return data
    # Only here: most callers and services never need it, and importing it takes time.
    import cloudpickle  # type: ignore[import-untyped]  # it ships no types

    if apart is not None:
        apart.buffers.clear()
    if "__mp_main__" in sys.modules:
        cloudpickle.register_pickle_by_value(sys.modules["__mp_main__"])
    file = io.BytesIO()
    cloudpickle.Pickler(file, protocol=5, buffer_callback=callback).dump(value)
    return file.getvalue()
