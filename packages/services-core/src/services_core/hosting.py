"""One constructed service and the threads that run its methods.

For backends whose services live in a process of ours (inline, local). A caller either lends its
own thread (`run`), which costs nothing, or has a thread of the host do it (`submit`):

    run(...)  ----------------------------.
                                          |-> semaphore(max_concurrency) -> the object's method
    submit(...) -> thread pool -----------'
    submit(coroutine method) -> event loop -> its own semaphore

The items of a generator (`stream`) take the same ways, each of them a turn.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from services_core import serving
from services_core.connections import MethodKind, ServiceKey, public_methods
from services_core.coroutines import ENDS_ITS_CALLER, ServiceLoop, exit_refused
from services_core.errors import ServiceDiedError, ServiceTimeoutError
from services_core.services import ServiceSpec

__all__ = ["ServiceHost", "exit_refused"]

# As on Ray: a class with coroutine methods is meant to run many of them at once.
_ASYNC_CONCURRENCY = 1000

_END = object()


class ServiceHost:
    """A service object, and at most `max_concurrency` calls to it at a time.

    The object is constructed in the thread that makes the host.

    Args:
        spec: The service. Whatever its constructor raises passes through.
        key: Its identity, by which a call of the service to itself is told.
    """

    def __init__(self, spec: ServiceSpec, key: ServiceKey) -> None:
        self.name = spec.name
        self.key = key
        self.methods: dict[str, MethodKind] = public_methods(spec.cls)
        concurrency = spec.options.max_concurrency or 1
        self._turns = threading.Semaphore(concurrency)
        self._threads = concurrent.futures.ThreadPoolExecutor(
            concurrency, thread_name_prefix=f"service-{spec.name}"
        )
        self._loop = ServiceLoop(key)
        self._loop_turns = asyncio.Semaphore(spec.options.max_concurrency or _ASYNC_CONCURRENCY)
        self._closed = False
        self._closing = threading.Lock()
        self.object = spec.cls(*spec.args, **spec.kwargs)

    def run(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method in this thread, when it is its turn."""
        if self._is_coroutine(method):
            return self.submit(method, args, kwargs).result()
        return self._in_turn(lambda: getattr(self.object, method)(*args, **kwargs))

    def submit(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> concurrent.futures.Future[Any]:
        """Call a method in a thread of the host; coroutine methods run on its event loop."""
        self._check_open()
        if self._is_coroutine(method):
            return self._loop.submit(self._await_in_turn(method, args, kwargs))
        return self._in_pool(lambda: self.run(method, args, kwargs))

    def stream(
        self,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        timeout: float | None = None,
    ) -> Iterator[Any]:
        """Iterate over what a generator method yields; each item is one turn.

        Args:
            method: Name of the generator method.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            timeout: Seconds to wait for each item, or None.
        """
        self._check_open()
        items = getattr(self.object, method)(*args, **kwargs)
        if not (hasattr(items, "__next__") or hasattr(items, "__anext__")):
            items = iter(items)  # a decorator has made a list of what the generator yields
        if hasattr(items, "__anext__"):
            return self._iterate_on_loop(method, items, timeout)
        return self._iterate(method, items, timeout)

    def close(self, grace: float) -> BaseException | None:
        """Call the object's `close()` if it has one, and stop the threads; once.

        New calls are refused at once. A `close()` that is no coroutine waits for a call that runs,
        as every call does.

        Args:
            grace: Seconds that the call which runs may take, and then `close()`, before they are
                left behind.

        Returns:
            What `close()` raised, a `TimeoutError` if it didn't end, or None.
        """
        self._closed = True
        if not self._closing.acquire(blocking=False):
            return None  # somebody else has closed it, or does
        problem: BaseException | None = None
        closer = getattr(self.object, "close", None)
        if inspect.iscoroutinefunction(closer):
            # On the loop of its other coroutines, whose events and locks it may wait for.
            closing = self._loop.submit(closer())
            finished, _ = concurrent.futures.wait([closing], grace)
            problem = closing.exception() if finished else _too_slow(grace)
        elif callable(closer):
            has_turn = self._turns.acquire(timeout=grace)
            problem = _run_with_grace(closer, grace)
            if has_turn:
                self._turns.release()
        # What waits in the pool still gets its turn, and finds the service ended.
        self._threads.shutdown(wait=False)
        self._loop.end()
        return problem

    def _in_turn(self, act: Callable[[], Any]) -> Any:
        """Run the object's code in this thread, when it is its turn."""
        self._check_open()
        with self._turns:
            self._check_open()
            token = serving.enter(self.key)
            try:
                return act()
            except ENDS_ITS_CALLER as error:
                raise exit_refused(error) from error
            finally:
                serving.leave(token)

    async def _await_in_turn(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        async with self._loop_turns:
            return await getattr(self.object, method)(*args, **kwargs)

    def _in_pool(self, act: Callable[[], Any]) -> concurrent.futures.Future[Any]:
        try:
            return self._threads.submit(act)
        except RuntimeError as error:
            if not self._closed:
                raise  # no thread could be started
            raise ServiceDiedError(self.name, "it was ended") from error

    def _iterate(self, method: str, items: Iterator[Any], timeout: float | None) -> Iterator[Any]:
        def advance() -> Any:
            return self._in_turn(lambda: next(items, _END))

        while True:
            if timeout is None:
                item = advance()
            else:
                future = self._in_pool(advance)
                if not concurrent.futures.wait([future], timeout).done:
                    future.cancel()  # if it still waits for its turn
                    raise self._too_slow_an_item(method, timeout)
                item = future.result()
            if item is _END:
                return
            yield item

    def _iterate_on_loop(
        self, method: str, items: AsyncIterator[Any], timeout: float | None
    ) -> Iterator[Any]:
        # One task for all items: what the generator enters, such as a timeout, belongs to a task.
        asked: asyncio.Queue[concurrent.futures.Future[Any] | None] = asyncio.Queue()
        running = self._loop.submit(self._hand_out(items, asked))
        try:
            while True:
                item: concurrent.futures.Future[Any] = concurrent.futures.Future()
                self._loop.tell(asked.put_nowait, item)
                concurrent.futures.wait([item, running], timeout, "FIRST_COMPLETED")
                if item.done():
                    yield item.result()
                elif running.done():
                    running.result()
                    return
                else:
                    raise self._too_slow_an_item(method, timeout)
        finally:
            self._loop.tell(asked.put_nowait, None)

    async def _hand_out(
        self,
        items: AsyncIterator[Any],
        asked: asyncio.Queue[concurrent.futures.Future[Any] | None],
    ) -> None:
        try:
            while (answer := await asked.get()) is not None:
                async with self._loop_turns:
                    item = await anext(items, _END)
                if item is _END:
                    return
                answer.set_result(item)
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()

    def _too_slow_an_item(self, method: str, timeout: float | None) -> ServiceTimeoutError:
        return ServiceTimeoutError(self.name, f"an item of {method}()", timeout or 0.0)

    def _is_coroutine(self, method: str) -> bool:
        return inspect.iscoroutinefunction(getattr(self.object, method))

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceDiedError(self.name, "it was ended")


def _run_with_grace(closer: Any, grace: float) -> BaseException | None:
    """Run `close()` in a thread of its own, so that one that hangs can be left behind."""
    problem: list[BaseException] = []

    def run() -> None:
        try:
            closer()
        except BaseException as error:  # noqa: BLE001 - reported to whoever ends the service
            problem.append(error)

    thread = threading.Thread(target=run, name="service-close", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # at exit Python starts no threads any more
        run()
    else:
        thread.join(grace)
    if thread.is_alive():
        return _too_slow(grace)
    return problem[0] if problem else None


def _too_slow(grace: float) -> TimeoutError:
    return TimeoutError(f"close() took longer than {grace:g} s")
