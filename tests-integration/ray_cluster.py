"""What `test_ray_cluster.py` runs in a process of its own: the driver of a cluster of three nodes.

    pytest, which has the session's Ray  --spawns-->  this driver  -->  a head node and two others

Every node is a raylet with workers of its own, on this one machine. `start` is called first.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from workers import execute_cells

from llm_transforms import ChatEnv, PythonInterpreter
from python_executor import PythonExecutorService
from services_core import (
    ServiceBase,
    ServiceDiedError,
    ServiceExistsError,
    call_each_replica,
    get_services,
    group_by_replica,
    native,
)
from services_core.testing.observing import eventually, is_running
from services_core.testing.samples import Gated, wait_for_file

_NAMESPACE = "clustered"
_KEYS = [f"env-{number}" for number in range(60)]


class Member:
    """A replica that tells where it is."""

    def where(self) -> tuple[int, str]:
        """Its process, and its node."""
        return os.getpid(), ray.get_runtime_context().get_node_id()

    def wait(self, process: int) -> None:
        """Return when a process has ended."""
        assert eventually(lambda: not is_running(process))

    def blob(self, size: int) -> bytes:
        """As many bytes."""
        return bytes(size)


class _Driver:
    """What the functions below share."""

    cluster: Any
    services: ServiceBase
    registrar: Any  # an actor lives as long as somebody holds it


def start(bytecode: str) -> None:
    """Start the cluster, connect to it and open a registry.

    Args:
        bytecode: A folder for the bytecode of all the Pythons that start.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = bytecode
    # Ray finds a lost node after seconds, by default: here sooner.
    config = {"health_check_period_ms": 300, "health_check_failure_threshold": 3}
    node = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster: Any = Cluster(initialize_head=True, head_node_args={**node, "_system_config": config})
    for _ in range(2):
        cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False)
    _Driver.cluster = cluster
    _Driver.services = get_services("ray", namespace=_NAMESPACE)


def stop() -> list[Any]:
    """End everything; returns the named actors that were left."""
    _Driver.services.shutdown()
    left: list[Any] = ray.util.list_named_actors(all_namespaces=True)
    ray.shutdown()
    _Driver.cluster.shutdown()
    return left


def spread() -> None:
    """Replicas go to as many nodes as there are, whatever they ask for."""
    for num_cpus in (0, 1):
        others = _Driver.services.register("others", Member, replicas=3, num_cpus=num_cpus)
        assert len({node for _, node in _places(others).values()}) == 3
        _Driver.services.unregister("others")
    members = _Driver.services.register("members", Member, replicas=3)
    places = _places(members)
    assert len({node for _, node in places.values()}) == 3
    info = _Driver.services.describe("members")
    assert {replica.pid for replica in info.replicas} == {pid for pid, _ in places.values()}
    assert [replica.state for replica in info.replicas] == ["running"] * 3
    assert [replica.restarts for replica in info.replicas] == [0] * 3
    assert info.restarts == 0


def placed_by_the_user() -> None:
    """A scheduling strategy of the user's is left as it is."""
    node = _Driver.cluster.worker_nodes.copy().pop().node_id
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    pinned = _Driver.services.register(
        "pinned", Member, replicas=2, num_cpus=0, scheduling_strategy=strategy
    )
    assert {node for _, node in _places(pinned).values()} == {node}
    _Driver.services.unregister("pinned")


def results_stay_where_they_are() -> None:
    """The router learns that a call has ended without fetching what it returned."""
    members = _Driver.services["members"]
    here = ray.get_runtime_context().get_node_id()
    references = []
    connection: Any = members._connection
    for replica in connection._replicas:
        ended: list[object] = []
        reference = replica.connection.native.blob.remote(2**21)
        replica.connection.when_done(reference, ended.append)
        assert eventually(lambda: bool(ended))  # noqa: B023 - called in this turn
        references.append(reference)
    places = ray.experimental.get_object_locations(references)
    nodes = [place["node_ids"] for place in places.values()]
    assert sorted(map(len, nodes)) == [1, 1, 1]
    assert len({node for each in nodes for node in each}) == 3
    assert here in {node for each in nodes for node in each}


def lose_a_replica() -> None:
    """A killed replica is left out; the keys of the others stay where they are."""
    services = _Driver.services
    members = services["members"]
    before = _homes(members)
    victim = members.where.options(key=_KEYS[0])()
    doomed = members.wait.options(key=_KEYS[0]).submit(os.getpid())
    os.kill(victim[0], signal.SIGKILL)
    assert not _raises_died(doomed.result).restarting
    after = _homes(members)
    assert {key for key in _KEYS if before[key] != after[key]} == {
        key for key in _KEYS if before[key] == victim
    }
    assert len(set(after.values())) == 2
    again = services["members"]
    assert again == members
    assert _homes(again) == after
    assert len(services.describe("members").replicas) == 2
    assert len(group_by_replica(again, _KEYS)) == 2
    services.unregister("members")


def restart_a_replica() -> None:
    """A replica that is restarted comes back to its keys, and the others never noticed."""
    members = _Driver.services.register("members", Member, replicas=3, max_restarts=1)
    before = _homes(members)
    victim = members.where.options(key=_KEYS[0])()
    doomed = members.wait.options(key=_KEYS[0]).submit(os.getpid())
    os.kill(victim[0], signal.SIGKILL)
    error = _raises_died(doomed.result)
    assert error.restarting
    steady = [key for key in _KEYS if before[key] != victim]
    assert {key: members.where.options(key=key)() for key in steady} == {
        key: before[key] for key in steady
    }
    assert eventually(lambda: _answers(members, _KEYS[0]))
    assert members.where.options(key=_KEYS[0])() != victim
    assert _Driver.services.describe("members").restarts == 1
    _Driver.services.unregister("members")


def keep_sessions_on_their_nodes() -> None:
    """Sessions are found by key from every node, and only those of a killed replica are lost."""
    keys = _KEYS[:24]
    executor = _Driver.services.register(
        "python_executor", PythonExecutorService, pool_size=1, replicas=3
    )
    places = [actor.__ray_call__.remote(_node_of) for actor in native(executor)]
    assert len(set(ray.get(places))) == 3
    cells = [(key, f"x = {number}; x") for number, key in enumerate(keys)]
    values = [str(number) for number in range(len(keys))]
    assert execute_cells("ray", _NAMESPACE, cells) == [(value, "fresh") for value in values]
    listed = call_each_replica(executor.list_sessions)
    homes = [{info["session"] for info in sessions} for sessions in listed]
    assert all(homes)
    again = [(key, "x") for key in keys]
    for node in _Driver.cluster.worker_nodes:
        where = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        remote: Any = ray.remote
        execute = remote(num_cpus=0, scheduling_strategy=where)(execute_cells)
        found = ray.get(execute.remote("ray", _NAMESPACE, again))
        assert found == [(value, "kept") for value in values]

    interpreter = PythonInterpreter(services=_Driver.services, persistent=True)
    with ChatEnv(24).append_transform(interpreter) as env:
        env.reset(["Go."] * 24)
        env.step(["```python\nx = 1\n```"] * 24)
        victim = _Driver.services.describe("python_executor").replicas[2].pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        assert eventually(lambda: not is_running(victim))
        chats = env.step(["```python\nx\n```"] * 24)
        crashed = [n for n, chat in enumerate(chats) if "Crashed" in chat[-1]["content"]]
        chats = env.step(["```python\nx\n```"] * 24)
        told = [n for n, chat in enumerate(chats) if "are gone." in chat[-1]["content"]]
        assert told == crashed
        assert 0 < len(told) < 24
    results = execute_cells("ray", _NAMESPACE, again)
    states = {key: state for key, (_, state) in zip(keys, results, strict=True)}
    assert {key for key, state in states.items() if state == "fresh"} == homes[2]
    assert set(states.values()) == {"fresh", "kept"}
    assert len(call_each_replica(_Driver.services["python_executor"].list_sessions)) == 2
    _Driver.services.unregister("python_executor")


def lose_a_node() -> None:
    """What was on a lost node is dead once Ray has noticed; the rest goes on."""
    services = _Driver.services
    members = services.register("members", Member, replicas=3)
    before = _homes(members)
    here = ray.get_runtime_context().get_node_id()
    lost = next(node for _, node in before.values() if node != here)
    (node,) = [n for n in _Driver.cluster.worker_nodes if n.node_id == lost]
    _begin_on(lost, here)
    where = NodeAffinitySchedulingStrategy(lost, soft=False)
    bound = services.register(
        "bound", Member, num_cpus=0, max_restarts=1, scheduling_strategy=where
    )
    doomed = next(key for key in _KEYS if before[key][1] == lost)
    waiting = members.wait.options(key=doomed).submit(os.getpid())
    _Driver.cluster.remove_node(node, allow_graceful=False)
    _raises_died(waiting.result)  # and it may be back, until Ray has noticed
    assert eventually(lambda: len(services.describe("members").replicas) == 2)
    assert eventually(lambda: services.list() == ["members"])
    # What could be started again on that node alone is dead, too.
    assert not _raises_died(lambda _: bound.where()).restarting
    after = _homes(members)
    moved = {key for key in _KEYS if before[key] != after[key]}
    assert moved == {key for key in _KEYS if before[key][1] == lost}
    assert {members.where() for _ in range(20)} == set(after.values())
    # What its workers have begun on other nodes is ended, too.
    assert services.get_or_register("half", Member).where()[1] != lost
    services.reset()
    assert services.list() == []


class _Registrar:
    """A worker whose registration never comes to an end."""

    def begin(self, node: str, entered: str) -> None:
        where = NodeAffinitySchedulingStrategy(node, soft=False)
        services = get_services("ray", namespace=_NAMESPACE)
        services.register(
            "half", Gated, entered + ".never", entered, num_cpus=0, scheduling_strategy=where
        )


def _begin_on(node: str, elsewhere: str) -> None:
    """Begin a registration in a worker of one node, whose service is constructed on another."""
    remote: Any = ray.remote
    where = NodeAffinitySchedulingStrategy(node, soft=False)
    _Driver.registrar = remote(num_cpus=0, scheduling_strategy=where)(_Registrar).remote()
    entered = str(Path(os.environ["PYTHONPYCACHEPREFIX"], "entered"))
    _Driver.registrar.begin.remote(elsewhere, entered)
    wait_for_file(entered)
    try:
        _Driver.services.register("half", Member)
    except ServiceExistsError:
        return
    raise AssertionError("its name was free")


def _node_of(_: object) -> str:
    return str(ray.get_runtime_context().get_node_id())


def _places(members: Any) -> dict[int, tuple[int, str]]:
    """Where each replica is, asked directly."""
    actors = native(members)
    return dict(enumerate(ray.get([actor.where.remote() for actor in actors])))


def _homes(members: Any) -> dict[str, tuple[int, str]]:
    return {key: members.where.options(key=key)() for key in _KEYS}


def _answers(members: Any, key: str) -> bool:
    try:
        members.where.options(key=key)()
    except ServiceDiedError:
        return False
    return True


def _raises_died(wait: Any) -> ServiceDiedError:
    try:
        wait(60)
    except ServiceDiedError as error:
        return error
    raise AssertionError("it did not raise")
