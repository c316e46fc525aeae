"""Registries on this machine, the example as a module, and the proof that nothing is left."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import gettempdir
from types import ModuleType

import psutil
import pytest

from python_executor import PythonExecutorService
from services_core import Handle, ServiceBase, get_services

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "llm" / "trl_grpo.py"


def children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children() if child.is_running()}


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceBase]:
    """An empty namespace that processes of this machine share, whatever their TMPDIR."""
    directory = Path(gettempdir()) / f"services-local-{os.getuid()}"
    monkeypatch.setenv("SERVICES_LOCAL_DIR", str(directory))
    with get_services("local", f"test-{uuid.uuid4().hex}") as services:
        yield services


@pytest.fixture
def executor(services: ServiceBase) -> Handle:
    """An executor in it."""
    handle = services.register(
        "python_executor", PythonExecutorService, pool_size=2, max_concurrency=8
    )
    assert isinstance(handle, Handle)
    return handle


@pytest.fixture(scope="session")
def example() -> ModuleType:
    """What the example makes: a tiny model whose first turns are dictated, and its training."""
    spec = spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[EXAMPLE.stem] = module
    spec.loader.exec_module(module)
    return module
