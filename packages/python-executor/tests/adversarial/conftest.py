"""A pool serves all tests of a module; after each attack the arena looks for what is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ._arena import Arena
from ._host import Hoard, Victim


@pytest.fixture(autouse=True)
def temporary() -> None:
    """In place of the check that no pool outlives a test: here each outlives many."""


@pytest.fixture(scope="module", autouse=True)
def victim() -> Iterator[Victim]:
    """There before any arena, which then doesn't take it for a process of its own."""
    with Victim() as victim:
        yield victim


@pytest.fixture(scope="session")
def hoard() -> Iterator[Hoard]:
    with Hoard() as hoard:
        yield hoard


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """Two slots in the strict sandbox. A module that needs others has its own."""
    with Arena() as arena:
        yield arena
