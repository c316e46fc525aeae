"""One real Ray for the whole run, and the proof that no actor is left after a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray


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
