"""Handles and registries are values: they pickle, compare and tell."""

from __future__ import annotations

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from services_core.errors import HandleForkedError
from services_core.registry import ServiceBase
from services_core.testing.observing import in_forked_child
from services_core.testing.promises.basis import Promises
from services_core.testing.samples import (
    AsyncCounter,
    Counter,
)


class Values(Promises):
    """Handles and registries are values: they pickle, compare and tell."""

    def test_handles_compare_by_the_service_that_they_name(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        other = services.register("other", Counter)
        assert counter == services["counter"]
        assert hash(counter) == hash(services["counter"])
        assert counter != other
        assert counter != "counter"
        again = pickle.loads(pickle.dumps(counter))
        assert again == counter
        assert again.add() == 1

    def test_a_forked_child_reaches_the_service_or_is_told_so_at_once(
        self, services: ServiceBase
    ) -> None:
        counter = services.register("counter", Counter, 5)
        members = services.register("members", Counter, replicas=2)

        def use() -> int | None:
            try:
                members.add()
                assert counter.add() == 6
                count: int = counter.add.submit().result(30)
            except HandleForkedError:
                return None
            return count

        count = in_forked_child(use)
        # Not a copy of the service: what the child has done is seen here.
        assert counter.add(0) == (5 if count is None else count)

    def test_a_registry_pickles(self, services: ServiceBase) -> None:
        services.register("counter", Counter)
        again = pickle.loads(pickle.dumps(services))
        assert again.list() == ["counter"]
        again.close()

    def test_a_method_that_the_class_doesnt_have_raises_at_once(
        self, services: ServiceBase
    ) -> None:
        counter = services.register("counter", Counter)
        with pytest.raises(AttributeError, match=r"subtract.*add"):
            counter.subtract
        with pytest.raises(AttributeError):
            counter._mark
        assert "add" in dir(counter)
        with pytest.raises(TypeError, match="not callable"):
            counter()

    def test_generator_methods_give_iterators(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        assert list(counter.upto(3)) == [0, 1, 2]
        with pytest.raises(TypeError, match="iterator"):
            counter.upto.submit(3)

        async def collect() -> list[int]:
            return [number async for number in counter.upto.aio(3)]

        assert asyncio.run(collect()) == [0, 1, 2]
        first = next(iter(counter.upto(1000)))
        assert first == 0
        assert counter.add() == 1

    def test_coroutine_methods_are_called_like_any_other(self, services: ServiceBase) -> None:
        counter = services.register("counter", AsyncCounter)
        assert counter.twice(4) == 8
        assert asyncio.run(counter.twice.aio(4)) == 8
        assert list(counter.upto(3)) == [0, 1, 2]

    def test_a_service_may_be_called_from_many_threads(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(lambda _: counter.add(), range(80))) == list(range(1, 81))

    def test_describe_tells_what_runs(self, services: ServiceBase) -> None:
        services.register("counter", Counter, num_cpus=0)
        info = services.describe("counter")
        assert info.name == "counter"
        assert info.namespace == "conformance"
        assert info.backend == services.backend
        assert info.class_name == "services_core.testing.samples.Counter"
        assert info.state == "running"
        assert info.pid == services["counter"].pid()
        assert info.started_at is not None
        assert info.options == {"num_cpus": 0}

    def test_repr_tells_live_status(self, services: ServiceBase) -> None:
        assert "0 services" in repr(services)
        counter = services.register("counter", Counter)
        assert "1 services" in repr(services)
        assert "counter" in repr(counter)
        assert "add" in repr(counter.add)
