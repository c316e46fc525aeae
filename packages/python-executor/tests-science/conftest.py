"""Pools in the strictest sandbox: with what is used preloaded, and with all to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from python_executor import ExecutionResult, PythonExecutorService

Run = Callable[..., ExecutionResult]

# Large imports take seconds on a busy machine.
TIMEOUT = 60.0


def make_pool(*preload: str) -> PythonExecutorService:
    return PythonExecutorService(pool_size=2, timeout=TIMEOUT, preload=preload, sandbox="strict")


def running(pool: PythonExecutorService) -> Run:
    """Return what executes a program that has to succeed.

    A program tells by assertions whether its figures are right. What it prints on stderr is a
    failure too: a library that can't do something often warns only.
    """

    def run(
        code: str, files: Mapping[str, bytes] | None = None, seed: int | None = None
    ) -> ExecutionResult:
        result = pool.execute(code, files=files, seed=seed)
        assert result["success"], f"{result['status']}: {result['error']}\n{result['stderr']}"
        assert result["stderr"] == ""
        return result

    return run


@pytest.fixture(scope="session")
def bare() -> Iterator[PythonExecutorService]:
    """Nothing is preloaded: for what the standard library does."""
    with make_pool() as pool:
        yield pool


@pytest.fixture(scope="session")
def run_bare(bare: PythonExecutorService) -> Run:
    return running(bare)


@pytest.fixture(scope="session", params=["imported", "preloaded"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """The libraries without torch, which is large and has tests of its own."""
    libraries = ["numpy", "scipy", "pandas", "sympy", "matplotlib.pyplot", "sklearn"]
    with make_pool(*(libraries if request.param == "preloaded" else [])) as pool:
        yield running(pool)


@pytest.fixture(scope="session", params=["imported", "preloaded"])
def run_torch(request: pytest.FixtureRequest) -> Iterator[Run]:
    """PyTorch alone."""
    with make_pool(*(["torch"] if request.param == "preloaded" else [])) as pool:
        yield running(pool)
