"""What the tests of every promise stand on: the fixtures, and the capabilities that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import pytest

from services_core.registry import ServiceBase
from services_core.testing.capabilities import Capability

T = TypeVar("T")
OpenRegistry = Callable[[str], ServiceBase]
"""From a namespace to a registry."""

_NEEDS = "_services_core_needs"


def needs(*capabilities: Capability) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test as one for backends with these capabilities."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        setattr(test, _NEEDS, frozenset(capabilities))
        return test

    return mark


def needed_by(test: object) -> frozenset[Capability]:
    """The capabilities that a test needs."""
    needed: frozenset[Capability] = getattr(test, _NEEDS, frozenset())
    return needed


class Promises:
    """The fixtures; a backend's test class defines `open_registry`."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    def run_in_worker(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function in another worker of the job, and return its value.

        A backend whose services are seen by other processes overrides this. It raises if the
        function ends its process.

        Args:
            function: A module-level function of an importable module.
            *args: Its arguments.
        """
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *args).result()

    @pytest.fixture
    def open_registry(self) -> Iterator[OpenRegistry]:
        """A function from a namespace to a registry; what it opened is ended afterwards."""
        raise NotImplementedError("define the fixture open_registry in the subclass")

    @pytest.fixture
    def services(self, open_registry: OpenRegistry) -> ServiceBase:
        """An empty registry."""
        return open_registry("conformance")
