"""One constructed service and the threads that run its methods.

For backends whose services live in a process of ours (inline, local). A caller either lends its
own thread (`run`), which costs nothing, or has a thread of the host do it (`submit`):

    run(...)  ----------------------------.
                                          |-> semaphore(max_concurrency) -> the object's method
    submit(...) -> thread pool -----------'
    submit(coroutine method) -> event loop -> its own semaphore
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, cast

from services_core import serving
from services_core.connections import MethodKind, ServiceKey, public_methods
from services_core.errors import RemoteError, ServiceDiedError, ServiceTimeoutError
from services_core.remote_errors import traceback_text
from services_core.services import ServiceSpec

# As on Ray: a class with coroutine methods is meant to run many of them at once.
_ASYNC_CONCURRENCY = 1000


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
        self._async_concurrency = spec.options.max_concurrency or _ASYNC_CONCURRENCY
        self._turns = threading.Semaphore(concurrency)
        self._threads = concurrent.futures.ThreadPoolExecutor(
            concurrency, thread_name_prefix=f"service-{spec.name}"
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_turns: asyncio.Semaphore | None = None
        self._loop_lock = threading.Lock()
        self._closed = False
        self.object = spec.cls(*spec.args, **spec.kwargs)

    def run(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method in this thread, when it is its turn."""
        if self._is_coroutine(method):
            return self.submit(method, args, kwargs).result()
        self._check_open()
        with self._turns:
            self._check_open()
            token = serving.enter(self.key)
            try:
                return getattr(self.object, method)(*args, **kwargs)
            except SystemExit as error:
                raise exit_refused(error) from error
            finally:
                serving.leave(token)

    def submit(
        self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> concurrent.futures.Future[Any]:
        """Call a method in a thread of the host; coroutine methods run on its event loop."""
        self._check_open()
        if self._is_coroutine(method):
            future: concurrent.futures.Future[Any] = concurrent.futures.Future()
            future.set_running_or_notify_cancel()
            asyncio.run_coroutine_threadsafe(
                self._run_coroutine(future, method, args, kwargs), self._event_loop()
            )
            return future
        try:
            return self._threads.submit(self.run, method, args, kwargs)
        except RuntimeError as error:  # closed between the check and the call
            raise ServiceDiedError(self.name, "it was ended") from error

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
        return self._drain(method, items, timeout)

    def close(self, grace: float) -> BaseException | None:
        """Call the object's `close()` if it has one, and stop the threads.

        Args:
            grace: Seconds that `close()` may take before it is left behind.

        Returns:
            What `close()` raised, a `TimeoutError` if it didn't end, or None.
        """
        self._closed = True
        problem: BaseException | None = None
        closer = getattr(self.object, "close", None)
        if inspect.iscoroutinefunction(closer):
            # On the loop of its other coroutines, whose events and locks it may wait for.
            closing = asyncio.run_coroutine_threadsafe(closer(), self._event_loop())
            finished, _ = concurrent.futures.wait([closing], grace)
            problem = closing.exception() if finished else _too_slow(grace)
        elif callable(closer):
            problem = _run_with_grace(closer, grace)
        # What waits in the pool still gets its turn, and finds the service ended.
        self._threads.shutdown(wait=False)
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(_end_loop(), self._loop)
        return problem

    def _drain(
        self, method: str, items: Iterator[Any] | AsyncIterator[Any], timeout: float | None
    ) -> Iterator[Any]:
        end = object()

        def advance() -> Any:
            with self._turns:
                self._check_open()
                token = serving.enter(self.key)
                try:
                    return next(cast("Iterator[Any]", items), end)
                except SystemExit as error:
                    raise exit_refused(error) from error
                finally:
                    serving.leave(token)

        async def advance_async() -> Any:
            serving.enter(self.key)
            return await anext(cast("AsyncIterator[Any]", items), end)

        while True:
            self._check_open()
            if inspect.isasyncgen(items):
                future = asyncio.run_coroutine_threadsafe(advance_async(), self._event_loop())
                item = self._result(method, future, timeout)
            elif timeout is not None:
                item = self._result(method, self._threads.submit(advance), timeout)
            else:
                item = advance()
            if item is end:
                return
            yield item

    def _result(
        self, method: str, future: concurrent.futures.Future[Any], timeout: float | None
    ) -> Any:
        finished, _ = concurrent.futures.wait([future], timeout)
        if not finished:
            raise ServiceTimeoutError(self.name, f"an item of {method}()", timeout or 0.0)
        return future.result()

    def _is_coroutine(self, method: str) -> bool:
        return inspect.iscoroutinefunction(getattr(self.object, method))

    async def _run_coroutine(
        self,
        future: concurrent.futures.Future[Any],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        serving.enter(self.key)
        if self._loop_turns is None:
            self._loop_turns = asyncio.Semaphore(self._async_concurrency)
        try:
            async with self._loop_turns:
                call: Coroutine[Any, Any, Any] = getattr(self.object, method)(*args, **kwargs)
                future.set_result(await call)
        except asyncio.CancelledError:
            future.set_exception(ServiceDiedError(self.name, "it was ended during the call"))
        except SystemExit as error:  # it would end the loop
            future.set_exception(exit_refused(error))
        except BaseException as error:  # noqa: BLE001 - the caller's, whatever it is
            future.set_exception(error)

    def _event_loop(self) -> asyncio.AbstractEventLoop:
        with self._loop_lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run_loop,
                    args=(self._loop,),
                    name=f"service-{self.name}-loop",
                    daemon=True,
                ).start()
            return self._loop

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceDiedError(self.name, "it was ended")


def exit_refused(error: SystemExit) -> RemoteError:
    """What a method's `sys.exit()` is for its caller, whose process it must not end."""
    return RemoteError("builtins.SystemExit", str(error), traceback_text(error))


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


async def _end_loop() -> None:
    """Cancel what still runs on the loop, so that nobody waits for it for ever; then stop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    asyncio.get_running_loop().stop()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()
