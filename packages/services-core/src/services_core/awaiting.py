"""Waiting in asyncio for what threads do.

Without the threads of asyncio's own pool: there are few of them, and `asyncio.run` waits for each
at its end. One that waits for a service which doesn't answer would hold up the whole program.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar, cast

T = TypeVar("T")

_END = object()


async def finished(future: Future[Any]) -> None:
    """Wait until a future is done, whatever its result; a cancellation leaves it as it is."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(_wake, done)

    # Not `asyncio.wrap_future`: a future of asyncio can't hold a StopIteration, and whoever waits
    # for one that a method raised would wait for ever.
    future.add_done_callback(tell)
    await done


async def iterate(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """Iterate over what blocks, in a thread of its own.

    Left half-way, or in the middle of an item, the thread closes the iterator when that returns.
    """
    asked: queue.SimpleQueue[Future[object] | None] = queue.SimpleQueue()
    threading.Thread(
        target=contextvars.copy_context().run,
        args=(_hand_out, items, asked),
        name="services-items",
        daemon=True,
    ).start()
    try:
        while True:
            item: Future[object] = Future()
            asked.put(item)
            await finished(item)
            if item.result() is _END:
                return
            yield cast("T", item.result())
    finally:
        asked.put(None)


def _hand_out(items: Iterator[Any], asked: queue.SimpleQueue[Future[object] | None]) -> None:
    while (answer := asked.get()) is not None:
        try:
            item = next(items, _END)
        except BaseException as error:  # noqa: BLE001 - the reader's, whatever it is
            answer.set_exception(error)
        else:
            answer.set_result(item)
    closer = getattr(items, "close", None)
    if closer is not None:
        closer()


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
