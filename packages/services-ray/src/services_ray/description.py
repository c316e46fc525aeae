"""What `describe` tells: the record of a service, and what the cluster knows of its actor."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ray.actor import ActorHandle

from services_core import ServiceInfo
from services_ray import states
from services_ray.records import Record


def describe(record: Record, actor: ActorHandle[Any]) -> ServiceInfo:
    """Describe the service that a record is about.

    The record is of the first process; of later ones Ray itself knows, as long as it tells.

    Args:
        record: The record of the actor.
        actor: Its handle.
    """
    info = ServiceInfo(
        name=record.name,
        namespace=record.namespace,
        backend=record.key.backend,
        class_name=record.class_name,
        state="running" if record.is_published else "starting",
        pid=record.pid,
        node=record.node,
        started_at=record.started_at,
        options=record.options,
    )
    facts = states.actor_facts(actor)
    if facts is None:
        return info
    if record.is_published and facts.state == "RESTARTING":
        return replace(info, state="restarting", restarts=facts.restarts)
    if facts.restarts == 0:
        return replace(info, restarts=0)
    return replace(
        info,
        pid=facts.pid,
        node=states.host_of(facts.node_id),
        started_at=facts.changed_at,
        restarts=facts.restarts,
    )
