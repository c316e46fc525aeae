"""``await`` at the top level of cells: one event loop, which they share.

It is made, and asyncio imported, when a cell first awaits, and runs only while such a cell does. So
a lock, a queue or a connection of one cell can be awaited in the next, while a task that one cell
began goes on only when a later one awaits. In a cell that doesn't, ``asyncio.run`` works as it does
in a script.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import builtins
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from . import limits
from .wakeup import set_handler

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable
    from types import FrameType

# A program may patch ``builtins``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_SIGINT = int(_signal.SIGINT)
_get_handler, _default_handler = _signal.getsignal, _signal.default_int_handler
# How long a cell has to end when the loop was left over its head (seconds). What clears up for
# longer does so while the next cell awaits; one that heeds no cancellation doesn't cost the state.
_PATIENCE = 1.0


class CellLoop:
    """Runs cells that await, one after the other.

    Example:
        >>> async def cell():
        ...     return 42
        >>> CellLoop().run(cell)
        42
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Context] | None = None
        self._cancelled = False

    def run(self, cell: Callable[[], Awaitable[object]]) -> object:
        """Run a cell to its end and return its value; raises what it raises.

        Args:
            cell: it is called in the running loop, and what it returns is awaited there.

        Raises:
            KeyboardInterrupt: SIGINT came, and the program has no handler of its own. The loop can
                run the next cell, and has in it what other tasks there are.
        """
        import asyncio

        try:
            value, error = self._complete(cell)
        except BaseException as raised:  # noqa: BLE001  (raised below)
            value, error = None, raised
        if error is None:
            return value
        try:
            if self._cancelled and isinstance(error, asyncio.CancelledError):
                raise KeyboardInterrupt().with_traceback(error.__traceback__) from None
            raise error
        finally:
            del error  # its traceback holds this frame

    def descriptors(self) -> set[int]:
        """What the loop has open, if it is one of asyncio's own."""
        found: set[int] = set()
        loop: Any = self._loop
        for name in ("_selector", "_ssock", "_csock"):
            held: Any = getattr(loop, name, None)
            if held is not None:
                found.add(held.fileno())
        return found

    def renew(self) -> None:
        """Have descriptors of the loop's own, in a copy of this process that goes on beside it.

        What asyncio calls in its subclasses' constructors, and keeps between them.
        """
        loop: Any = self._loop
        if loop is None or not self.descriptors():
            return
        loop._selector.close()  # noqa: SLF001
        loop._selector = type(loop._selector)()  # noqa: SLF001
        for end in (loop._ssock, loop._csock):  # noqa: SLF001
            end.close()
        loop._internal_fds -= 1  # noqa: SLF001
        loop._make_self_pipe()  # noqa: SLF001

    def _complete(
        self, cell: Callable[[], Awaitable[object]]
    ) -> tuple[object, BaseException | None]:
        """Run the loop until the cell has ended; returns its value, or what it raised."""
        loop = self._open()
        self._cancelled = False
        # Not the task's result: the frames below the cell know the task, and its error knows them.
        outcome: list[tuple[object, BaseException | None]] = []
        task = self._task = loop.create_task(_hold(cell, outcome))
        handler = self._heed
        heeds = _get_handler(_SIGINT) is _default_handler
        if heeds:
            set_handler(_SIGINT, handler)
        try:
            _run(loop, task)
        finally:
            self._task = None
            if heeds and _get_handler(_SIGINT) is handler:
                set_handler(_SIGINT, _default_handler)
        # As if it had run where other cells do: the precision of decimal is such a variable.
        for variable, value in task.result().items():
            variable.set(value)
        return outcome.pop()

    def _open(self) -> asyncio.AbstractEventLoop:
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop

    def _heed(self, _number: int, frame: FrameType | None) -> None:
        """Interrupt the program where it is, or cancel the cell if it waits.

        asyncio's own code is left to end what it does: the loop and its locks are needed again. A
        second signal interrupts everything.
        """
        import asyncio

        is_busy = asyncio.current_task(self._loop) is not None and not _is_of_asyncio(frame)
        if is_busy or self._cancelled or self._task is None or not self._task.cancel():
            raise KeyboardInterrupt
        self._cancelled = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(int)  # wakes it up


async def _hold(
    cell: Callable[[], Awaitable[object]], outcome: list[tuple[object, BaseException | None]]
) -> Context:
    """Await a cell, and put its value and what it raises into a list; returns its variables.

    Its exceptions don't pass the loop, which treats some as its own, and adds its frames.
    """
    try:
        outcome.append((await cell(), None))
    except BaseException as error:  # noqa: BLE001  (whatever it raises is its result)
        if isinstance(error, MemoryError):
            limits.use_reserve()  # the loop needs some to end
        outcome.append((None, error))
    return copy_context()


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Context]) -> None:
    """Run the loop until a task has ended; ends it if something else ends the loop."""
    import asyncio

    try:
        loop.run_until_complete(task)
    except BaseException:
        # An interrupt or ``sys.exit`` in another task, or the program stopped the loop.
        try:
            if task.cancel():
                loop.run_until_complete(asyncio.wait([task], timeout=_PATIENCE))
            else:
                # That the task is done may not have been told: it would stop the loop next time.
                loop.call_soon(loop.stop)
                loop.run_forever()
        except BaseException:  # noqa: BLE001, S110  (what came first is told)
            pass
        raise


def _is_of_asyncio(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_globals.get("__package__") == "asyncio"


cell_loop = CellLoop()
