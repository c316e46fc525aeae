"""What is particular to the registry on Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import ray

from services_core import ServiceBase, get_services, native
from services_core.testing.samples import Counter


@pytest.fixture
def services() -> Iterator[ServiceBase]:
    with get_services(backend="ray", namespace="particular") as opened:
        yield opened


def test_the_users_own_actors_and_namespace_are_left_alone(services: ServiceBase) -> None:
    mine: Any = ray.remote(num_cpus=0)(Counter).options(name="counter").remote(100)
    services.register("counter", Counter, num_cpus=0)
    assert services["counter"].add() == 1
    services.reset()
    assert ray.get(mine.add.remote()) == 101
    assert ray.get_runtime_context().namespace == "mine"
    assert ray.is_initialized()
    ray.kill(mine)


def test_a_registry_takes_no_cpu(services: ServiceBase) -> None:
    others = [get_services(backend="ray", namespace=f"n{number}") for number in range(6)]
    for other in others:
        other.register("counter", Counter, num_cpus=0)
    assert all(other["counter"].add() == 1 for other in others)
    for other in others:
        other.shutdown()


def test_options_of_ray_go_to_ray(services: ServiceBase) -> None:
    services.register(
        "counter",
        Counter,
        num_cpus=0,
        max_restarts=1,
        runtime_env={"env_vars": {"COLOUR": "red"}},
        concurrency_groups={"io": 2},
    )
    actor: Any = native(services["counter"])
    assert ray.get(actor.__ray_call__.remote(_colour)) == "red"
    assert services["counter"].add.options(concurrency_group="io")() == 1


def test_it_works_inside_a_task_and_an_actor(services: ServiceBase) -> None:
    services.register("counter", Counter, num_cpus=0)
    assert ray.get(ray.remote(num_cpus=0)(_add_in_task).remote(services)) == 1
    user: Any = ray.remote(num_cpus=0)(_User).remote(services)
    assert ray.get(user.add.remote()) == 2


def test_the_config_of_the_caller_is_not_touched() -> None:
    config = {"num_cpus": 2}
    get_services(backend="ray", namespace="configured", ray_init_config=config).close()
    assert config == {"num_cpus": 2}


class _User:
    def __init__(self, services: ServiceBase) -> None:
        self._counter = services["counter"]

    def add(self) -> int:
        result: int = self._counter.add()
        return result


def _add_in_task(services: ServiceBase) -> int:
    result: int = services["counter"].add()
    return result


def _colour(_actor: object) -> str | None:
    import os

    return os.environ.get("COLOUR")
