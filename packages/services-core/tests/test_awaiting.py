"""An iterator that blocks can be read from asyncio, and left there at any time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, cast

import pytest

from services_core import InlineService
from services_core.testing.observing import eventually


class Slow:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.left = threading.Event()
        self.threads: set[int] = set()

    def numbers(self) -> Iterator[int]:
        try:
            for number in range(3):
                self.threads.add(threading.get_ident())
                yield number
            self.gate.wait(30)
            yield 3
        finally:
            self.left.set()

    def fail(self) -> Iterator[int]:
        yield 0
        raise LookupError("gone")


@pytest.fixture
def services() -> Iterator[InlineService]:
    with InlineService("awaiting") as opened:
        yield opened


def test_one_that_never_goes_on_can_be_left(services: InlineService) -> None:
    slow = services.register("slow", Slow)

    async def leave() -> list[int]:
        items = slow.numbers.aio()
        found = [await anext(items) for _ in range(3)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(items), 0.05)
        return found

    # `asyncio.run` waits for the threads of its own pool, so it must not be one of those.
    assert asyncio.run(leave()) == [0, 1, 2]
    assert not service(services).left.is_set()
    service(services).gate.set()
    assert service(services).left.wait(30)


def test_all_of_it_runs_in_one_thread_that_ends_with_it(services: InlineService) -> None:
    slow = services.register("slow", Slow)

    async def first() -> int:
        async with aclosing(cast("Any", slow.numbers.aio())) as items:
            return [number async for number in take(2, items)][-1]

    assert asyncio.run(first()) == 1
    assert service(services).left.wait(30)
    assert len(service(services).threads - {threading.get_ident()}) == 1
    assert eventually(lambda: "services-items" not in {t.name for t in threading.enumerate()})


def test_what_it_raises_arrives(services: InlineService) -> None:
    slow = services.register("slow", Slow)

    async def read() -> None:
        async for _ in slow.fail.aio():
            pass

    with pytest.raises(LookupError, match="gone"):
        asyncio.run(read())


def service(services: InlineService) -> Slow:
    found = services["slow"]._connection.native
    assert isinstance(found, Slow)
    return found


async def take(count: int, items: AsyncIterator[int]) -> AsyncIterator[int]:
    for _ in range(count):
        yield await anext(items)
