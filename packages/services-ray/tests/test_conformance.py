"""The Ray backend keeps what every backend promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
import ray

from services_core import ServiceBase, get_services
from services_core.testing import Capability, RegistryConformance
from services_core.testing.conformance import OpenRegistry

T = TypeVar("T")


class TestRayService(RegistryConformance):
    capabilities = frozenset({Capability.PROCESSES, Capability.START_TIMEOUT, Capability.RESTARTS})

    def run_in_worker(self, function: Callable[..., T], *args: Any) -> T:
        task = ray.remote(num_cpus=0, max_retries=0)(function)
        result: T = ray.get(task.remote(*args))
        return result

    @pytest.fixture
    def open_registry(self) -> Iterator[OpenRegistry]:
        opened: list[ServiceBase] = []

        def open_one(namespace: str) -> ServiceBase:
            opened.append(get_services(backend="ray", namespace=namespace))
            return opened[-1]

        yield open_one
        for services in opened:
            services.shutdown()


def test_it_lacks_no_capability() -> None:
    assert frozenset(Capability) - TestRayService.capabilities == frozenset()
