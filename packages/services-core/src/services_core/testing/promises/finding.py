"""Every worker finds what one has registered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services_core.errors import (
    InvalidNameError,
    ServiceNotFoundError,
)
from services_core.handles import Handle, native
from services_core.registry import ServiceBase
from services_core.testing.observing import eventually
from services_core.testing.promises.basis import Promises
from services_core.testing.samples import (
    Counter,
    Echo,
)


class Finding(Promises):
    """Every worker finds what one has registered."""

    def test_a_registered_service_answers(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter, 5)
        assert counter.add(2) == 7
        assert services.get("counter").add() == 8
        assert services["counter"].add() == 9
        assert services.get("counter", Counter).add() == 10

    def test_it_can_be_called_through_a_future_and_from_asyncio(
        self, services: ServiceBase
    ) -> None:
        counter = services.register("counter", Counter)
        assert counter.add.submit(2).result(30) == 2
        assert asyncio.run(counter.add.aio(3)) == 5

        async def many() -> list[int]:
            return sorted(await asyncio.gather(*(counter.add.aio() for _ in range(20))))

        assert asyncio.run(many()) == list(range(6, 26))

    def test_remote_gives_the_backends_own_future(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        assert counter.add.remote(2) is not None
        assert native(counter) is not None
        # A call that somebody waits for may overtake one that nobody does.
        assert eventually(lambda: counter.add(0) == 2)

    def test_positional_and_keyword_arguments_arrive(self, services: ServiceBase) -> None:
        echo = services.register("echo", Echo, 1, "two", three=[3])
        assert echo.arguments() == ((1, "two"), {"three": [3]})
        assert echo.back(b"4", five=None) == ((b"4",), {"five": None})

    def test_every_worker_finds_it(self, services: ServiceBase) -> None:
        services.register("counter", Counter, 40)
        assert self.run_in_worker(_use_counter, services) == (["counter"], 42)
        assert services["counter"].add(0) == 42

    def test_a_worker_can_register_for_the_others(self, services: ServiceBase) -> None:
        self.run_in_worker(_register_counter, services)
        assert services["counter"].add() == 1

    def test_a_handle_goes_to_another_worker(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        assert self.run_in_worker(_add_two, counter) == 2

    def test_an_empty_registry_is_truthy_and_lists_nothing(self, services: ServiceBase) -> None:
        assert services
        assert services.list() == []
        assert len(services) == 0
        assert list(services) == []
        assert "counter" not in services

    def test_it_lists_its_services_sorted(self, services: ServiceBase) -> None:
        services["b"] = Counter
        services["a"] = Counter
        assert services.list() == list(services) == ["a", "b"]
        assert len(services) == 2
        assert "a" in services
        del services["a"]
        assert services.list() == ["b"]
        assert "a" not in services

    def test_an_unknown_name_raises_and_lists_what_there_is(self, services: ServiceBase) -> None:
        services.register("counter", Counter)
        with pytest.raises(ServiceNotFoundError, match="counter") as caught:
            services.get("tokenizer")
        assert caught.value.available == ["counter"]
        assert isinstance(caught.value, KeyError)
        with pytest.raises(ServiceNotFoundError):
            services.describe("tokenizer")
        with pytest.raises(ServiceNotFoundError):
            services.unregister("tokenizer")

    @pytest.mark.parametrize("name", ["", "a\0b", "\udc80", 3, None])
    def test_what_is_no_name_is_refused(self, services: ServiceBase, name: Any) -> None:
        with pytest.raises(InvalidNameError):
            services.register(name, Counter)
        with pytest.raises(InvalidNameError):
            services.get(name)
        assert name not in services

    @pytest.mark.parametrize("name", ["päth/../x y", "a" * 500])
    def test_any_other_string_is_a_name(self, services: ServiceBase, name: str) -> None:
        services.register(name, Counter)
        assert services.list() == [name]
        assert services[name].add() == 1

    def test_what_is_no_class_is_refused(self, services: ServiceBase) -> None:
        with pytest.raises(TypeError, match="class"):
            services.register("counter", Counter())  # type: ignore[call-overload]


def _use_counter(services: ServiceBase) -> tuple[list[str], int]:
    found = services.list()
    return found, services["counter"].add(2)


def _register_counter(services: ServiceBase) -> None:
    services.register("counter", Counter)


def _add_two(counter: Handle) -> int:
    result = counter.add(2)
    assert isinstance(result, int)
    return result
