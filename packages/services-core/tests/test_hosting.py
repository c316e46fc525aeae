"""A host runs its object's methods, each in its turn, and ends with a grace period."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from services_core import RemoteError, ServiceDiedError, ServiceOptions, ServiceSpec
from services_core.hosting import ServiceHost


class Slow:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()

    def wait(self) -> str:
        self.entered.set()
        assert self.gate.wait(30)
        return "done"

    def count(self, end: int) -> Iterator[int]:
        for number in range(end):
            assert self.gate.wait(30)
            yield number


class Stubborn:
    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def close(self) -> None:
        self.gate.wait(30)


class Faulty:
    def close(self) -> None:
        raise OSError("disk full")


def host(cls: type, *args: object, max_concurrency: int | None = None) -> ServiceHost:
    options = ServiceOptions(max_concurrency=max_concurrency)
    spec = ServiceSpec(name="test", cls=cls, args=args, options=options)
    return ServiceHost(spec, spec.key("test", "test"))


def test_calls_that_wait_when_it_is_closed_find_it_dead() -> None:
    slow = host(Slow)
    running = slow.submit("wait", (), {})
    waiting = slow.submit("wait", (), {})
    assert slow.object.entered.wait(30)
    slow.close(1.0)
    slow.object.gate.set()
    assert running.result(30) == "done"
    with pytest.raises(ServiceDiedError):
        waiting.result(30)
    for call in (slow.run, slow.submit, slow.stream):
        with pytest.raises(ServiceDiedError):
            call("wait", (), {})


def test_a_close_that_hangs_is_left_behind() -> None:
    gate = threading.Event()
    problem = host(Stubborn, gate).close(0.05)
    gate.set()
    assert isinstance(problem, TimeoutError)


def test_what_close_raises_is_reported() -> None:
    assert isinstance(host(Faulty).close(1.0), OSError)


def test_a_stream_gives_up_an_item_that_takes_too_long() -> None:
    slow = host(Slow)
    with pytest.raises(TimeoutError, match="count"):
        next(slow.stream("count", (3,), {}, timeout=0.05))
    slow.object.gate.set()
    assert list(slow.stream("count", (3,), {}, timeout=30)) == [0, 1, 2]
    slow.close(1.0)


class Asynchronous:
    def __init__(self) -> None:
        self.closed = False

    async def begin(self) -> None:
        self._stop = asyncio.Event()
        self._waiting = asyncio.ensure_future(self._stop.wait())

    async def wait(self) -> None:
        await asyncio.Event().wait()

    async def leave(self) -> None:
        raise SystemExit(3)

    async def close(self) -> None:
        self._stop.set()
        self.closed = await self._waiting


def test_a_coroutine_close_runs_on_the_loop_of_the_other_coroutines() -> None:
    service = host(Asynchronous)
    service.run("begin", (), {})
    assert service.close(30) is None
    assert service.object.closed


def test_coroutines_that_run_when_it_is_closed_end_with_an_error() -> None:
    service = host(Asynchronous)
    service.run("begin", (), {})
    waiting = service.submit("wait", (), {})
    service.close(30)
    with pytest.raises(ServiceDiedError):
        waiting.result(30)


def test_system_exit_in_a_coroutine_is_the_callers_and_not_the_loops() -> None:
    service = host(Asynchronous)
    with pytest.raises(RemoteError, match="SystemExit"):
        service.submit("leave", (), {}).result(30)
    service.run("begin", (), {})
    service.close(30)
