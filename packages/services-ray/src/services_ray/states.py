"""What Ray knows of actors and workers, and has no public name for.

Everything private that only reads stands here, guarded: in a Ray that has moved it the answer is
None, "not known", and whoever asks does without.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import ray
from ray.actor import ActorHandle
from ray.exceptions import RaySystemError

# ActorTableData.ActorState in Ray's gcs.proto. Of an actor that this process hasn't called yet
# nothing is known: 0, or none at all.
_ALIVE = 2
_RESTARTING = 3
_DEAD = 4

_GUARDED = (AttributeError, ImportError, KeyError, TypeError, ValueError, RaySystemError)


class ActorFacts(NamedTuple):
    """What the control service of the cluster tells of an actor.

    Attributes:
        state: "ALIVE", "RESTARTING", "DEAD", or another name of Ray's.
        pid: Its process.
        node_id: Where it runs.
        restarts: How often it was started again.
        changed_at: When its state changed last, in seconds since the epoch.
    """

    state: str
    pid: int
    node_id: str
    restarts: int
    changed_at: float


def session() -> object | None:
    """What is another object each time that Ray is initialised here; None while it isn't."""
    if not ray.is_initialized():
        return None
    try:
        from ray._private import worker

        node: object = worker._global_node  # noqa: SLF001 - guarded
    except _GUARDED:
        return ray.is_initialized
    return node


def actor_id(actor: ActorHandle[Any]) -> str:
    """Ray's identity of an actor."""
    return str(actor._actor_id.hex())  # noqa: SLF001 - Ray has no public name for it


def local_state(actor: ActorHandle[Any]) -> int | None:
    """What this process was told of an actor: no message is sent for it."""
    try:
        get: Any = actor._get_local_state  # noqa: SLF001 - guarded
        state: int | None = get()
    except _GUARDED:
        return None
    return state


def is_known_to_live(actor: ActorHandle[Any]) -> bool:
    """Whether this process was told that the actor lives, or will again; the news is ms old."""
    return local_state(actor) in (_ALIVE, _RESTARTING)


def is_known_to_be_dead(actor: ActorHandle[Any]) -> bool:
    """Whether this process was told that the actor is dead for good."""
    return local_state(actor) == _DEAD


def is_known_to_restart(actor: ActorHandle[Any]) -> bool:
    """Whether this process was told that the actor is being started again."""
    return local_state(actor) == _RESTARTING


def is_in_async_actor() -> bool:
    """Whether this process is an actor whose methods run in an event loop."""
    try:
        from ray._private.worker import global_worker

        worker: Any = global_worker
        return bool(worker.core_worker.current_actor_is_asyncio())
    except _GUARDED:
        return True  # asked in an event loop of an actor, this is what it most likely is


def actor_facts(actor: ActorHandle[Any]) -> ActorFacts | None:
    """What the cluster knows of an actor."""
    try:
        from ray._private.state import actors

        table = actors(actor_id(actor))
        return ActorFacts(
            state=str(table["State"]),
            pid=int(table["Pid"]),
            node_id=str(table["Address"]["NodeID"]),
            restarts=int(table["NumRestarts"]),
            changed_at=table["Timestamp"] / 1000,
        )
    except _GUARDED:
        return None


def has_lost_its_creator(actor: ActorHandle[Any]) -> bool | None:
    """Whether the process that created an actor is dead; None if that isn't known."""
    try:
        from ray._private.state import state
        from ray.core.generated import gcs_pb2

        messages: Any = gcs_pb2
        accessor: Any = state._connect_and_get_accessor()  # noqa: SLF001 - guarded
        table = accessor.get_actor_info(actor._actor_id)  # noqa: SLF001 - guarded
        creator = messages.ActorTableData.FromString(table).owner_address
        table = accessor.get_worker_info(ray.WorkerID(creator.worker_id))
        if not messages.WorkerTableData.FromString(table).is_alive:
            return True
    except _GUARDED:
        return None
    # The workers of a node that is lost aren't told to be dead one by one.
    return not is_node_alive(creator.node_id.hex())


def is_node_alive(node_id: str) -> bool:
    """Whether a node of the cluster is there."""
    return any(node["NodeID"] == node_id and node["Alive"] for node in _nodes())


def nodes_all_have_cpus() -> bool:
    """Whether there is no node without CPUs, as head nodes often are."""
    return all(node["Resources"].get("CPU") for node in _nodes() if node["Alive"])


def implicit_resource(name: str) -> str | None:
    """Name of a custom resource of which every node has 1, without being told."""
    prefix = getattr(importlib.import_module("ray._raylet"), "IMPLICIT_RESOURCE_PREFIX", None)
    return None if prefix is None else f"{prefix}{name}"


def host_of(node_id: str) -> str | None:
    """The host name of a node."""
    hosts = (node["NodeManagerHostname"] for node in _nodes() if node["NodeID"] == node_id)
    return next(hosts, None)


def _nodes() -> list[dict[str, Any]]:
    nodes: Any = ray.nodes
    return list(nodes())
