"""One real Ray for the whole run, and the proof that no actor is left after a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray


def pytest_configure(config: pytest.Config) -> None:
    """Ray 2.53, our floor, leaves some of its own files and processes to the garbage collector."""
    if ray.__version__.startswith("2.53."):
        for leak in ("unclosed file <.* name='/dev/null'", r"subprocess \d+ is still running"):
            config.addinivalue_line("filterwarnings", f"ignore:{leak}:ResourceWarning")


@pytest.fixture(scope="session", autouse=True)
def started_ray() -> Iterator[None]:
    """Ray with 4 logical CPUs."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, namespace="the-users-own")
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def no_actor_is_left() -> Iterator[None]:
    yield
    left = ray.util.list_named_actors(all_namespaces=True)
    assert not left, f"named actors are left: {left}"
