"""The local backend keeps what every backend promises."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import cloudpickle  # type: ignore[import-untyped]  # it ships no types
import pytest

from services_core import ServiceBase, get_services
from services_core.testing import Capability, RegistryConformance
from services_core.testing.conformance import OpenRegistry

T = TypeVar("T")

_WORKER = """
import pickle, sys
function, args = pickle.load(sys.stdin.buffer)
sys.stdout.buffer.write(pickle.dumps(function(*args)))
"""


class TestLocalService(RegistryConformance):
    capabilities = frozenset(Capability)

    def run_in_worker(self, function: Callable[..., T], *args: Any) -> T:
        done = subprocess.run(
            [sys.executable, "-c", _WORKER],
            input=cloudpickle.dumps((function, args)),
            stdout=subprocess.PIPE,
            check=True,
        )
        result: T = cloudpickle.loads(done.stdout)
        return result

    @pytest.fixture
    def open_registry(self) -> Iterator[OpenRegistry]:
        opened: list[ServiceBase] = []

        def open_one(namespace: str) -> ServiceBase:
            opened.append(get_services(backend="local", namespace=namespace))
            return opened[-1]

        yield open_one
        for services in opened:
            services.shutdown()


def test_it_has_every_capability() -> None:
    assert TestLocalService.capabilities == frozenset(Capability)
