"""The in-process backend keeps what every backend promises, and nothing leaks between its users."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from services_core import InlineService, ServiceBase, get_services
from services_core.testing import RegistryConformance
from services_core.testing.conformance import OpenRegistry
from services_core.testing.samples import Caller


class TestInlineService(RegistryConformance):
    @pytest.fixture
    def open_registry(self) -> Iterator[OpenRegistry]:
        opened: dict[str, ServiceBase] = {}

        def open_one(namespace: str) -> ServiceBase:
            services = get_services(backend="inline", namespace=namespace)
            opened[namespace] = get_services(backend="inline", namespace=namespace)
            return services

        yield open_one
        for services in opened.values():
            services.shutdown()


def test_it_lacks_the_capabilities_of_processes() -> None:
    assert TestInlineService.capabilities == frozenset()


def test_arguments_and_results_go_by_reference() -> None:
    with InlineService("reference") as services:
        box = services.register("box", dict)
        value = object()
        box.setdefault("key", value)
        assert box.get("key") is value


def test_a_service_may_call_another_where_the_users_own_event_loop_runs() -> None:
    async def cell_of_a_notebook() -> int:
        answer: int = caller.ask(other)
        return answer

    with InlineService("notebook") as services:
        caller, other = services.register("caller", Caller), services.register("other", Caller)
        assert asyncio.run(cell_of_a_notebook()) == 42
