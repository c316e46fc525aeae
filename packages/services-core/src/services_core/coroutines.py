"""The event loop of one service, on which its coroutine methods and asynchronous generators run.

It runs in a thread of its own, which is started for the first coroutine:

    a caller's thread  --submit(coroutine)-->  a task of the loop
                       <------- a future of its value -------
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from services_core import serving
from services_core.connections import ServiceKey
from services_core.errors import RemoteError, ServiceDiedError
from services_core.remote_errors import traceback_text
from services_core.services import class_name

T = TypeVar("T")

ENDS_ITS_CALLER = (SystemExit, asyncio.CancelledError)
"""What a method may raise, and must not arrive as it is: it would end the caller's process or task,
and on the way there the loop."""


class ServiceLoop:
    """Runs the coroutines of a service.

    Args:
        key: The service.
    """

    def __init__(self, key: ServiceKey) -> None:
        self._key = key
        # What is submitted before the end is seen by it: scheduled and ended in the same order.
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        # asyncio holds its tasks weakly: one that waits for what nobody else holds would be
        # collected, and its caller would wait for ever or get a GeneratorExit.
        self._tasks: set[asyncio.Task[None] | None] = set()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine of the service.

        Returns:
            A future of its value, which can't be cancelled and is done when the loop ends.

        Raises:
            ServiceDiedError: The loop has ended.
        """
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._ended:
                coroutine.close()
                raise ServiceDiedError(self._key.name, "it was ended")
            if self._loop is None:
                self._loop = self._started()
            asyncio.run_coroutine_threadsafe(self._run(coroutine, future), self._loop)
        return future

    def tell(self, callback: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop; nothing happens if that has ended."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(callback, *args)

    def end(self) -> None:
        """Cancel what still runs, and stop; returns at once."""
        with self._lock:
            self._ended = True
            if self._loop is not None:
                asyncio.run_coroutine_threadsafe(_end(self._loop), self._loop)

    async def _run(
        self, coroutine: Coroutine[Any, Any, T], future: concurrent.futures.Future[T]
    ) -> None:
        serving.enter(self._key, asyncio.get_running_loop())
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            future.set_result(await coroutine)
        except ENDS_ITS_CALLER as error:
            if self._ended and isinstance(error, asyncio.CancelledError):
                died = ServiceDiedError(self._key.name, "it was ended during the call")
                future.set_exception(died)
            else:
                future.set_exception(exit_refused(error))
        except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
            future.set_exception(error)
        finally:
            self._tasks.discard(task)

    def _started(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        threading.Thread(
            target=_run_loop, args=(loop,), name=f"service-{self._key.name}-loop", daemon=True
        ).start()
        return loop


def exit_refused(error: BaseException) -> RemoteError:
    """What a method's `sys.exit()`, or the cancellation of its task, is for its caller."""
    return RemoteError(class_name(type(error)), str(error), traceback_text(error))


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still runs on the loop, so that nobody waits for it for ever; then stop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await loop.shutdown_asyncgens()
    loop.stop()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
