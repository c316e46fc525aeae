"""How an exception travels from a service to its caller.

The exception itself goes as a pickle, and its traceback as text, because frames don't pickle. The
caller gets the exception with that text as its cause, in the way of `concurrent.futures`
(`concurrent/futures/process.py`, `_ExceptionWithTraceback`). One that can't be pickled, or not be
rebuilt, arrives as `RemoteError`.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from services_core.errors import RemoteError


class RemoteTraceback(Exception):  # noqa: N818 - it is shown as a cause, never raised
    """The traceback of another process, as the cause of the exception that it belongs to."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


@dataclass(frozen=True)
class PackedError:
    """An exception on its way between two processes."""

    pickled: bytes | None
    type_name: str
    message: str
    traceback: str


def pack_error(
    error: BaseException, dumps: Callable[[BaseException], bytes] = pickle.dumps
) -> PackedError:
    """Turn an exception into what can be sent, whatever it holds.

    Args:
        error: The exception, as caught.
        dumps: The pickler of the transport.
    """
    try:
        pickled: bytes | None = dumps(error)
    except Exception:  # noqa: BLE001 - any __reduce__ may raise anything; the text still goes
        pickled = None
    return PackedError(
        pickled=pickled,
        type_name=f"{type(error).__module__}.{type(error).__qualname__}",
        message=_text(error),
        traceback=traceback_text(error),
    )


def unpack_error(packed: PackedError) -> BaseException:
    """Rebuild an exception, with its remote traceback attached as the cause."""
    error: object = None
    if packed.pickled is not None:
        try:
            error = pickle.loads(packed.pickled)  # noqa: S301 - from a service of our own
        except Exception:  # noqa: BLE001 - its class may be missing here, or its __init__ refuse
            error = None
    if not isinstance(error, BaseException):
        error = RemoteError(packed.type_name, packed.message, packed.traceback)
    return with_remote_traceback(error, packed.traceback)


def with_remote_traceback(error: BaseException, text: str) -> BaseException:
    """Attach a remote traceback to an exception, as its cause."""
    # Past the class's own `__setattr__`: that of a frozen dataclass refuses.
    BaseException.__setattr__(error, "__cause__", RemoteTraceback(text))
    return error


def traceback_text(error: BaseException) -> str:
    """The traceback of an exception with its causes, as Python prints it."""
    return "".join(traceback.format_exception(error))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error
        return f"<{type(error).__name__} whose __str__ failed>"
