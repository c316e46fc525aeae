"""What is particular to handles on Ray."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray

from services_core import (
    BlockingCallError,
    Handle,
    HandleForkedError,
    ServiceBase,
    ServiceDiedError,
    ServiceTimeoutError,
    get_services,
    native,
)
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter, Gated
from services_ray import completions


@pytest.fixture
def services() -> Iterator[ServiceBase]:
    with get_services(backend="ray", namespace="handled") as opened:
        yield opened


def test_remote_gives_references_that_ray_understands(services: ServiceBase) -> None:
    counter = services.register("counter", Counter, num_cpus=0)
    assert ray.get(counter.add.remote(2)) == 2
    assert ray.get(native(counter).add.remote(2)) == 4
    first, second = counter.pair.options(num_returns=2).remote()
    assert ray.get([first, second]) == [1, 2]
    assert counter.pair.options(num_returns=2)() == [1, 2]
    assert counter.pair.options(num_returns=2).submit().result(30) == [1, 2]
    assert asyncio.run(counter.pair.options(num_returns=2).aio()) == [1, 2]
    assert counter.add.options(num_returns=0).submit().result(30) is None
    assert [ray.get(item) for item in counter.upto.remote(3)] == [0, 1, 2]


def test_a_handle_serves_32_threads(services: ServiceBase) -> None:
    counter = services.register("counter", Counter, num_cpus=0)
    with ThreadPoolExecutor(32) as pool:
        assert sorted(pool.map(lambda _: counter.add(), range(320))) == list(range(1, 321))
    services.reset()
    with pytest.raises(ServiceDiedError):
        counter.add()


def test_an_event_loop_of_a_driver_may_call_and_wait(services: ServiceBase) -> None:
    counter = services.register("counter", Counter, num_cpus=0)

    async def in_a_notebook() -> int:
        result: int = counter.add()
        return result

    assert asyncio.run(in_a_notebook()) == 1


def test_an_async_actor_registers_and_calls_through_aio(services: ServiceBase) -> None:
    services.register("counter", Counter, num_cpus=0)
    user: Any = ray.remote(num_cpus=0)(_AsyncUser).remote(services)
    with pytest.raises(BlockingCallError, match=r"add\.aio"):
        ray.get(user.block.remote())
    assert ray.get(user.add_politely.remote()) == 1
    assert ray.get(user.count.remote()) == [0, 1, 2]
    assert ray.get(user.register.remote(services)) == ["counter", "other"]
    assert services["other"].add() == 1
    ray.kill(user)


def test_what_ray_cant_take_by_itself_is_a_service_like_any_other(services: ServiceBase) -> None:
    numbers = services.register("numbers", list, [3, 1], num_cpus=0)
    numbers.append(2)
    numbers.sort()
    assert numbers.index(3) == 2
    assert services.describe("numbers").class_name == "builtins.list"
    table = services.register("table", _Table, a=1, num_cpus=0)
    assert (table.get("a"), table.size()) == (1, 1)
    assert list(table.twice()) == ["a", "a"]
    assert list(table.three()) == list(table.four()) == [0, 1, 2]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_generator_goes_as_far_as_it_is_read_and_ends_with_its_reader(
    services: ServiceBase, *, asynchronous: bool
) -> None:
    cls = _AsyncSource if asynchronous else _Source
    source = services.register("source", cls, num_cpus=0, max_concurrency=2)
    items = source.numbers()
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    if _ENDS_GENERATORS:
        assert source.furthest() <= 3
    items.close()
    if _ENDS_GENERATORS:
        assert eventually(lambda: source.ended() == 1)

    async def read() -> list[int]:
        read = []
        async for number in source.numbers.aio():
            read.append(number)
            if number == 2:
                break
        return read

    if _ENDS_GENERATORS:
        assert asyncio.run(read()) == [0, 1, 2]
        assert eventually(lambda: source.ended() == 2)
        for _ in range(3):
            source.numbers()  # nobody reads it: it doesn't stand in the way of the next call
        assert source.ended.options(timeout=30)() >= 2


def test_a_timeout_is_one_of_each_item(services: ServiceBase, tmp_path: Path) -> None:
    slow = services.register("slow", _Slow, str(tmp_path), num_cpus=0, max_concurrency=2)
    items = slow.numbers.options(timeout=0.3)()
    assert next(items) == 1
    with pytest.raises(ServiceTimeoutError, match="numbers"):
        next(items)

    async def read() -> int:
        items = slow.numbers.options(timeout=0.3).aio()
        first: int = await anext(items)
        with pytest.raises(ServiceTimeoutError, match="numbers"):
            await anext(items)
        return first

    assert asyncio.run(read()) == 1
    (tmp_path / "gate").touch()


def test_a_method_that_exits_ends_its_service(services: ServiceBase) -> None:
    leaver = services.register("leaver", _Leaver, num_cpus=0)
    with pytest.raises(ServiceDiedError):
        leaver.leave()
    assert services.list() == []


# -- when calls end, for the router ---------------------------------------------------------------


def test_a_call_that_nobody_waits_for_is_noticed_when_it_ends(
    services: ServiceBase, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gated = services.register("gated", Gated, num_cpus=0, max_concurrency=4)
    open_gate = tmp_path / "open"
    open_gate.touch()
    connection = gated._connection
    ended: list[str] = []
    connection.when_done(gated.wait.remote(str(gate)), lambda _: ended.append("gated"))
    connection.when_done([gated.wait.remote(str(gate))], lambda _: ended.append("listed"))
    connection.when_done(gated.wait.remote(str(open_gate)), lambda _: ended.append("open"))
    assert eventually(lambda: bool(ended))
    assert ended == ["open"]
    gate.touch()
    assert eventually(lambda: sorted(ended) == ["gated", "listed", "open"])
    connection.when_done(None, lambda error: ended.append(str(error)))
    assert ended[3:] == ["None"]
    assert not completions._thread._outstanding


def test_a_stream_that_nobody_waits_for_is_noticed_when_it_ends(services: ServiceBase) -> None:
    counter = services.register("counter", Counter, num_cpus=0)
    ended: list[BaseException | None] = []
    stream = counter.upto.remote(3)
    counter._connection.when_done(stream, ended.append)
    assert [ray.get(item) for item in stream] == [0, 1, 2]
    assert eventually(lambda: ended == [None])


def test_a_death_is_noticed_by_what_was_outstanding(services: ServiceBase, tmp_path: Path) -> None:
    gated = services.register("gated", Gated, num_cpus=0, max_concurrency=2)
    ended: list[Any] = []
    pid = services.describe("gated").pid
    assert pid is not None
    gated._connection.when_done(gated.wait.remote(str(tmp_path / "never")), ended.append)
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: bool(ended))
    assert isinstance(ended[0], ServiceDiedError)
    assert not ended[0].restarting


# -- forks ----------------------------------------------------------------------------------------


def test_a_forked_child_is_told_so_at_once(services: ServiceBase) -> None:
    counter = services.register("counter", Counter, num_cpus=0)
    pickled = pickle.dumps(counter)
    uses: list[Callable[[], object]] = [
        counter.add,
        counter.add.remote,
        counter.add.submit,
        lambda: asyncio.run(counter.add.aio()),
        lambda: counter.upto(3),
        lambda: asyncio.run(anext(counter.upto.aio(3))),
        lambda: pickle.loads(pickled).add(),
        lambda: services["counter"],
        lambda: "counter" in services,
        services.list,
        services.reset,
        lambda: services.describe("counter"),
        lambda: services.register("other", Counter),
        lambda: services.get_or_register("other", Counter),
        lambda: services.unregister("counter"),
        lambda: services.wait_for("counter", 0.1),
        lambda: get_services("ray", "handled"),
    ]
    assert _in_child(uses) == ["HandleForkedError"] * len(uses)
    assert counter.add() == 1


def test_a_child_that_was_forked_before_ray_was_there_may_use_it() -> None:
    script = """
import os, ray
import services_ray
from services_ray.forks import check_fork
if (child := os.fork()) == 0:
    check_fork("any")
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", script]) == 0


def _in_child(uses: list[Callable[[], object]]) -> list[str]:
    """Names of what each use raises in a forked child, which gets 30 seconds."""
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Ray has threads: it is about them
        child = os.fork()
    if child == 0:
        told = []
        threading.excepthook = lambda _args: None
        for use in uses:
            try:
                use()
                told.append("nothing")
            except HandleForkedError:
                told.append("HandleForkedError")
            except BaseException as error:  # noqa: BLE001 - told to the parent
                told.append(repr(error))
            os.write(into, (told[-1] + "\n").encode())
        os._exit(0)
    os.close(into)
    timer = threading.Timer(30, os.kill, (child, signal.SIGKILL))
    timer.start()
    with os.fdopen(out) as reader:
        told = reader.read().splitlines()
    os.waitpid(child, 0)
    timer.cancel()
    return told


_ENDS_GENERATORS = tuple(map(int, ray.__version__.split(".")[:2])) >= (2, 57)


class _Table(dict[str, int]):
    def size(self) -> int:
        return len(self)

    def twice(self) -> Iterator[str]:
        yield from self
        yield from self.keys()

    @staticmethod
    def three() -> Iterator[int]:
        yield from range(3)

    @classmethod
    def four(cls) -> Iterator[int]:
        yield from cls.three()


class _Source:
    def __init__(self) -> None:
        self._furthest = 0
        self._ended = 0

    def numbers(self) -> Iterator[int]:
        try:
            for number in itertools.count() if _ENDS_GENERATORS else range(10):
                self._furthest = number
                yield number
        finally:
            self._ended += 1

    def furthest(self) -> int:
        return self._furthest

    def ended(self) -> int:
        return self._ended


class _AsyncSource(_Source):
    async def numbers(self) -> AsyncIterator[int]:  # type: ignore[override]
        try:
            for number in itertools.count() if _ENDS_GENERATORS else range(10):
                self._furthest = number
                yield number
        finally:
            self._ended += 1


class _Slow:
    def __init__(self, folder: str) -> None:
        self._gate = Path(folder) / "gate"

    def numbers(self) -> Iterator[int]:
        yield 1
        while not self._gate.exists():
            time.sleep(0.01)
        yield 2


class _Leaver:
    def leave(self) -> None:
        sys.exit("as it wants")


class _AsyncUser:
    def __init__(self, services: ServiceBase) -> None:
        self._counter: Handle = services["counter"]

    async def block(self) -> None:
        self._counter.add()

    async def add_politely(self) -> int:
        result: int = await self._counter.add.aio()
        return result

    async def register(self, services: ServiceBase) -> list[str]:
        services.register("other", Counter, num_cpus=0)
        return services.list()

    async def count(self) -> list[int]:
        return [number async for number in self._counter.upto.aio(3)]
