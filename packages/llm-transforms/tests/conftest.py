"""Services in this process, and the proof that a test leaves no process behind."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from services_core import ServiceBase, get_services

Children = Callable[[], set[int]]


@pytest.fixture
def children() -> Children:
    """Tells the pids of this process's children, whichever thread made them."""

    def now() -> set[int]:
        # Not from task/*/children: proc(5) calls it incomplete while threads and processes end.
        found: set[int] = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(FileNotFoundError, ProcessLookupError):
                _state, parent = stat.read_text().rpartition(")")[2].split()[:2]
                if int(parent) == os.getpid():
                    found.add(int(stat.parent.name))
        return found

    return now


@pytest.fixture(autouse=True)
def no_process_is_left(children: Children) -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


@pytest.fixture
def services(request: pytest.FixtureRequest) -> Iterator[ServiceBase]:
    """An empty namespace of the in-process backend."""
    with get_services("inline", f"test-{request.node.name}") as services:
        yield services
