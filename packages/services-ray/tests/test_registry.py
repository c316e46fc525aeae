"""The registry keeps Ray's manners: the user's Ray stays the user's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import PendingCallsLimitExceeded
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from services_core import (
    AmbiguousOptionError,
    ServiceBase,
    ServiceExistsError,
    ServiceStartError,
    get_services,
    native,
)
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter, Gated, Server
from services_ray.options import native_options

_NO_NODE = "ab" * 28


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


def test_the_config_of_the_caller_is_not_touched() -> None:
    config = {"num_cpus": 2}
    get_services(backend="ray", namespace="configured", ray_init_config=config).close()
    assert config == {"num_cpus": 2}


def test_a_registry_takes_no_cpu(services: ServiceBase) -> None:
    def free() -> Any:
        return ray.available_resources().get("CPU", 0)  # type: ignore[no-untyped-call]

    assert eventually(lambda: free() == 4)
    others = [get_services(backend="ray", namespace=f"n{number}") for number in range(6)]
    for other in others:
        other.register("counter", Counter)
    assert all(other["counter"].add() == 1 for other in others)
    assert eventually(lambda: free() == 4)
    for other in others:
        other.shutdown()


def test_it_works_inside_a_task_and_an_actor(services: ServiceBase) -> None:
    services.register("counter", Counter, num_cpus=0)
    assert ray.get(ray.remote(num_cpus=0)(_add_in_task).remote(services)) == 1
    user: Any = ray.remote(num_cpus=0)(_User).remote(services)
    assert ray.get(user.add.remote()) == 2
    ray.kill(user)


def test_two_drivers_share_what_they_register(services: ServiceBase, tmp_path: Path) -> None:
    services.register("ours", Counter, num_cpus=0)
    address = ray.get_runtime_context().gcs_address
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        _DRIVER,
        address,
        services.namespace,
        str(tmp_path),
    ]
    with (
        (tmp_path / "errors").open("w+") as errors,
        subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as driver,
    ):
        assert driver.stdout is not None
        assert driver.stdout.readline() == "[1] theirs\n", (tmp_path / "errors").read_text()
        assert services["ours"].add() == 2
        assert services["theirs"].add() == 1
        assert services.get_client("server") == Server().client()
        with pytest.raises(ServiceExistsError):
            services.register("half", Counter, num_cpus=0)
        driver.kill()
    assert services["theirs"].add() == 2
    assert eventually(lambda: services.list() == ["ours", "theirs"])
    assert services.get_or_register("half", Counter, num_cpus=0).add() == 1


def test_what_is_left_of_a_ray_that_was_shut_down_says_so(services: ServiceBase) -> None:
    services.register("counter", Counter, num_cpus=0)
    services.register("members", Counter, num_cpus=0, replicas=2)
    # Before Ray 2.57 an actor whose generator lost its reader in this way serves nobody any more.
    services.register("streamed", Counter, num_cpus=0, close_timeout=0.5)
    script = """
import asyncio, pickle, ray, sys
from services_core import RegistryClosedError, ServiceDiedError, get_services
config = {"address": sys.argv[1], "log_to_driver": False}
services = get_services("ray", sys.argv[2], ray_init_config=config)
assert config == {"address": sys.argv[1], "log_to_driver": False}
counter, members = services["counter"], services["members"]
streamed = services["streamed"]
items, later, unread = streamed.upto(3), streamed.upto(3), streamed.upto(3)
next(items)

def refused(uses, error):
    for use in uses:
        try:
            use()
        except error:
            continue
        raise AssertionError(use)

old = (
    counter.add, counter.add.submit, counter.add.remote, lambda: asyncio.run(counter.add.aio()),
    members.add, members.add.remote, lambda: pickle.dumps(counter),
)
ray.shutdown()
refused((*old, lambda: next(items)), ServiceDiedError)
refused((services.list, lambda: "counter" in services, services.reset), RegistryClosedError)
assert not ray.is_initialized()
ray.init(**config)
refused((*old, lambda: next(later)), ServiceDiedError)
unread.close()
assert services.list() == ["counter", "members", "streamed"]
assert services["counter"].add() == 1
assert services["counter"].add() == 2
assert services["members"].add() == 1
assert services["counter"] == counter
"""
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-W", "ignore", "-c", script, address, services.namespace]
    subprocess.run(command, check=True, timeout=60)


# -- options --------------------------------------------------------------------------------------


def test_options_of_ray_go_to_ray(services: ServiceBase) -> None:
    services.register(
        "counter",
        Counter,
        num_cpus=1,
        num_gpus=0.5,
        memory=2**20,
        resources={"special": 2},
        max_concurrency=3,
        max_restarts=1,
        runtime_env={"env_vars": {"COLOUR": "red"}},
        scheduling_strategy=NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        ),
        concurrency_groups={"io": 2},
    )
    actor: Any = native(services["counter"])
    colour, assigned = ray.get(actor.__ray_call__.remote(_surroundings))
    assert colour == "red"
    assert assigned == {"CPU": 1, "GPU": 0.5, "memory": 2**20, "special": 2}
    assert services["counter"].add.options(concurrency_group="io")() == 1
    told = services.describe("counter").options
    assert (told["num_gpus"], told["resources"]) == (0.5, "{'special': 2}")


def test_it_takes_every_option_that_ray_has(services: ServiceBase) -> None:
    table: Any = pytest.importorskip("ray._common.ray_option_utils").actor_options
    assert native_options() >= {"label_selector", "max_task_retries", "_labels"}
    # Deprecated both, and a warning as soon as they are named.
    taken = native_options() - {"object_store_memory", "placement_group"}
    options = {name: table[name].default_value for name in taken}
    assert services.register("counter", Counter, num_cpus=0, **options).add() == 1


def test_placement_follows_labels_and_groups(services: ServiceBase) -> None:
    services.register("here", Counter, num_cpus=0, label_selector={"zone": "a"})
    group = ray.util.placement_group([{"CPU": 1}])
    strategy = PlacementGroupSchedulingStrategy(group)
    services.register("grouped", Counter, num_cpus=1, scheduling_strategy=strategy)
    ray.util.remove_placement_group(group)
    assert eventually(lambda: services.list() == ["here"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"label_selector": {"zone": "b"}, "start_timeout": 1.0}, "label_selector.*zone.*b"),
        ({"scheduling_strategy": NodeAffinitySchedulingStrategy(_NO_NODE, soft=False)}, "node"),
        ({"runtime_env": {"working_dir": "https://127.0.0.1:1/nowhere.zip"}}, "start it"),
    ],
    ids=["label", "node", "environment"],
)
def test_what_cant_be_placed_fails_the_registration(
    services: ServiceBase, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ServiceStartError, match=told):
        services.register("counter", Counter, num_cpus=0, **options)
    assert services.register("counter", Counter, num_cpus=0).add() == 1


def test_calls_are_retried_only_if_the_user_says_so(services: ServiceBase, tmp_path: Path) -> None:
    gated = services.register("gated", Gated, num_cpus=0, max_restarts=1, max_task_retries=1)
    pid = services.describe("gated").pid
    assert pid is not None
    answer = gated.wait.submit(str(tmp_path / "gate"))
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "gate").touch()
    assert answer.result(30) == "open"


def test_lookups_take_nothing_of_max_pending_calls(services: ServiceBase, tmp_path: Path) -> None:
    gated = services.register("gated", Gated, num_cpus=0, max_pending_calls=1)
    assert services["gated"] == services["gated"] == gated
    waiting = services["gated"].wait.remote(str(tmp_path / "gate"))
    with pytest.raises(PendingCallsLimitExceeded):
        gated.wait.remote(str(tmp_path / "gate"))
    (tmp_path / "gate").touch()
    assert ray.get(waiting) == "open"


def test_memory_that_is_meant_for_the_class_is_not_swallowed(services: ServiceBase) -> None:
    with pytest.raises(AmbiguousOptionError, match="memory"):
        services.register("buffer", _Buffer, memory=64)
    options = {"memory": 2**20, "num_cpus": 0}
    buffer = services.register_with_options("buffer", _Buffer, actor_options=options, memory=64)
    assert buffer.size() == 64


_DRIVER = """
import sys, threading
from services_core import get_services
from services_core.testing.samples import Counter, Gated, Server, wait_for_file

config = {"address": sys.argv[1], "namespace": "theirs", "log_to_driver": False}
services = get_services("ray", sys.argv[2], ray_init_config=config)
answer = services["ours"].add()
services.register("theirs", Counter, num_cpus=0)
services.register("server", Server().start())
half = ("half", Gated, sys.argv[3] + "/never", sys.argv[3] + "/entered")
threading.Thread(target=services.register, args=half, daemon=True).start()
wait_for_file(half[3])
import ray
print([answer], ray.get_runtime_context().namespace, flush=True)
sys.stdin.read()
"""


class _Buffer:
    def __init__(self, memory: int) -> None:
        self._memory = memory

    def size(self) -> int:
        return self._memory


class _User:
    def __init__(self, services: ServiceBase) -> None:
        self._counter = services["counter"]

    def add(self) -> int:
        result: int = self._counter.add()
        return result


def _add_in_task(services: ServiceBase) -> int:
    result: int = services["counter"].add()
    return result


def _surroundings(_actor: object) -> tuple[str | None, dict[str, float]]:
    import os

    context: Any = ray.get_runtime_context()
    return os.environ.get("COLOUR"), context.get_assigned_resources()
