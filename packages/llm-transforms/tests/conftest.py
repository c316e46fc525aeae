"""Services in this process, and the proof that a test leaves no process behind."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services_core import ServiceBase, get_services

Children = Callable[[], set[int]]


@pytest.fixture
def children() -> Children:
    """Tells the pids of this process's children, whichever thread made them."""

    def now() -> set[int]:
        tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        return {int(pid) for task in tasks for pid in task.read_text().split()}

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
