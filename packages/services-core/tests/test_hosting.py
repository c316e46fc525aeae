"""A host runs its object's methods, each in its turn, and ends with a grace period."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from services_core import RemoteError, ServiceDiedError, ServiceOptions, ServiceSpec
from services_core.hosting import ServiceHost
from services_core.testing.observing import eventually


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


class Careful:
    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.closed = 0
        self.busy = False

    def work(self) -> None:
        self.busy = True
        self.entered.set()
        assert self.gate.wait(30)
        self.busy = False

    def close(self) -> None:
        assert not self.busy
        self.closed += 1


def test_close_comes_after_the_call_that_runs() -> None:
    careful = host(Careful)
    working = careful.submit("work", (), {})
    assert careful.object.entered.wait(30)
    threading.Timer(0.05, careful.object.gate.set).start()
    assert careful.close(30) is None
    working.result(30)


def test_a_call_that_never_ends_doesnt_keep_it_from_being_closed() -> None:
    careful = host(Careful)
    careful.submit("work", (), {})
    assert careful.object.entered.wait(30)
    assert isinstance(careful.close(0.05), AssertionError)
    careful.object.gate.set()


def test_it_is_closed_once() -> None:
    careful = host(Careful)
    assert careful.close(1.0) is None
    assert careful.close(1.0) is None
    assert careful.object.closed == 1


def test_what_close_raises_is_reported() -> None:
    assert isinstance(host(Faulty).close(1.0), OSError)


def test_a_stream_gives_up_an_item_that_takes_too_long() -> None:
    slow = host(Slow)
    with pytest.raises(TimeoutError, match="count"):
        next(slow.stream("count", (3,), {}, timeout=0.05))
    slow.object.gate.set()
    assert list(slow.stream("count", (3,), {}, timeout=30)) == [0, 1, 2]
    slow.close(1.0)


_number: ContextVar[int] = ContextVar("number")


class Asynchronous:
    def __init__(self) -> None:
        self.closed = False
        self.left = False
        self._stop = asyncio.Event()

    async def begin(self) -> None:
        self._waiting = asyncio.ensure_future(self._stop.wait())

    async def wait(self) -> None:
        await asyncio.Event().wait()

    async def leave(self) -> None:
        raise SystemExit(3)

    async def cancel(self) -> None:
        raise asyncio.CancelledError

    async def one_and_leave(self) -> AsyncIterator[int]:
        yield 1
        raise SystemExit(3)

    async def one_and_wait(self) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def numbers(self) -> AsyncIterator[int]:
        task, token = asyncio.current_task(), _number.set(0)
        try:
            while True:
                assert asyncio.current_task() is task
                yield _number.get()
                _number.set(_number.get() + 1)
        finally:
            _number.reset(token)
            self.left = True

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


class Forgotten:
    def __init__(self) -> None:
        self.begun = threading.Event()

    async def wait(self) -> None:
        """Wait for something that nobody else holds."""
        self.begun.set()
        await asyncio.get_running_loop().create_future()


def test_a_coroutine_that_nobody_else_holds_runs_on() -> None:
    service = host(Forgotten)
    waiting = service.submit("wait", (), {})
    assert service.object.begun.wait(30)
    service.submit("wait", (), {})  # when that has begun, the first one waits
    gc.collect()
    assert not waiting.done()
    service.close(30)
    with pytest.raises(ServiceDiedError):
        waiting.result(30)


def test_system_exit_in_a_coroutine_is_the_callers_and_not_the_loops() -> None:
    service = host(Asynchronous)
    with pytest.raises(RemoteError, match="SystemExit"):
        service.submit("leave", (), {}).result(30)
    service.run("begin", (), {})
    service.close(30)


def test_a_cancellation_in_a_coroutine_is_not_the_services_death() -> None:
    service = host(Asynchronous)
    with pytest.raises(RemoteError, match="CancelledError"):
        service.submit("cancel", (), {}).result(30)
    service.run("begin", (), {})
    service.close(30)


def test_an_asynchronous_generator_that_exits_doesnt_end_the_loop() -> None:
    service = host(Asynchronous)
    items = service.stream("one_and_leave", (), {}, timeout=30)
    assert next(items) == 1
    with pytest.raises(RemoteError, match="SystemExit"):
        next(items)
    service.run("begin", (), {})
    service.close(30)


def test_an_asynchronous_generator_ends_with_its_service() -> None:
    service = host(Asynchronous)
    service.run("begin", (), {})
    items = service.stream("one_and_wait", (), {}, timeout=30)
    assert next(items) == 1
    threading.Timer(0.05, service.close, (30,)).start()
    with pytest.raises(ServiceDiedError):
        next(items)


def test_all_of_an_asynchronous_generator_runs_in_one_task() -> None:
    service = host(Asynchronous)
    service.run("begin", (), {})
    items: Any = service.stream("numbers", (), {}, timeout=30)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    items.close()
    assert eventually(lambda: service.object.left)
    service.close(30)


def test_a_call_that_comes_as_its_service_is_closed_doesnt_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = host(Asynchronous)
    service.run("begin", (), {})
    service.close(30)
    monkeypatch.setattr(service, "_check_open", lambda: None)  # it looked before
    with pytest.raises(ServiceDiedError):
        service.submit("begin", (), {}).result(30)
    with pytest.raises(ServiceDiedError):
        next(service.stream("numbers", (), {}))
    with pytest.raises(ServiceDiedError):
        next(host_with_closed_pool(monkeypatch).stream("count", (1,), {}, timeout=30))


def host_with_closed_pool(monkeypatch: pytest.MonkeyPatch) -> ServiceHost:
    slow = host(Slow)
    slow.close(1.0)
    monkeypatch.setattr(slow, "_check_open", lambda: None)
    return slow


def test_that_no_thread_can_be_started_is_not_its_death(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = host(Slow)

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(slow._threads, "submit", no_thread)
    with pytest.raises(RuntimeError, match="thread"):
        slow.submit("wait", (), {})
    slow.close(1.0)
