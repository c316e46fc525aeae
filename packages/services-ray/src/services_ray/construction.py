"""A service on its way: an actor that has its name, and isn't published yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from services_core import Connection, ServiceSpec, ServiceStartError
from services_core.construction import Construction
from services_core.options import chosen_options
from services_ray import actors, records, states
from services_ray.client import connect
from services_ray.placement import PLACING_OPTIONS
from services_ray.records import Record
from services_ray.translation import without_colours


class RayConstruction(Construction):
    """What `RayService` starts.

    Args:
        spec: The service.
        record: Its record, as it was reserved.
        actor: Its actor, which has just been created.
        ray_namespace: Namespace of Ray that the actor's name is in.
    """

    def __init__(
        self, spec: ServiceSpec, record: Record, actor: ActorHandle[Any], ray_namespace: str
    ) -> None:
        self._spec = spec
        self._record = record
        self._actor: Any = actor
        self._ray_namespace = ray_namespace
        self._give_up = time.monotonic() + spec.options.start_timeout
        # The first call that the actor serves: answered means constructed.
        self._facts: Any = self._actor.__ray_call__.remote(_telling())

    def wait(self) -> None:
        """Wait for the actor's first answer."""
        left = max(0.0, self._give_up - time.monotonic())
        facts: tuple[int, str, float]
        try:
            facts = ray.get(self._facts, timeout=left)
        except GetTimeoutError as error:
            raise ServiceStartError(self._spec.name, _why_so_long(self._spec)) from error
        except RayActorError as error:
            reason = "its constructor raised, or its process ended"
            raise ServiceStartError(self._spec.name, reason, without_colours(str(error))) from error
        except RayError as error:  # no such node, no such environment
            raise ServiceStartError(self._spec.name, f"Ray can't start it: {error}") from error
        pid, node, started_at = facts
        self._record = replace(self._record, pid=pid, node=node, started_at=started_at)

    def publish(self) -> Connection:
        """Complete the record."""
        records.put(self._record)
        facts = states.actor_facts(self._actor)
        if facts is not None and facts.state == "DEAD":
            records.forget(self._record)
            raise ServiceStartError(self._spec.name, "it died, or was ended, meanwhile")
        return connect(self._record, self._actor)

    def abandon(self) -> None:
        """Kill the actor, which frees its name."""
        records.forget(self._record)
        actors.kill(self._actor, self._spec.name, self._ray_namespace)


def _telling() -> Callable[[object], tuple[int, str, float]]:
    # A function inside a function goes as its code: the service's runtime_env may lack our package.
    def tell(_service: object) -> tuple[int, str, float]:
        import os
        import socket
        import time

        return os.getpid(), socket.gethostname(), time.time()

    return tell


def _why_so_long(spec: ServiceSpec) -> str:
    wanted = {"num_cpus": 1, **chosen_options(spec.options)}
    asked = {option: wanted[option] for option in PLACING_OPTIONS if option in wanted}
    there = _without_nodes(ray.cluster_resources())  # type: ignore[no-untyped-call]
    free = _without_nodes(ray.available_resources())  # type: ignore[no-untyped-call]
    return (
        f"it was not constructed within start_timeout={spec.options.start_timeout:g} s. Asked for: "
        f"{asked}; the cluster has {there}, of which free: {free}. Either that can't be had, or "
        "the constructor takes longer"
    )


def _without_nodes(resources: Mapping[str, float]) -> dict[str, float]:
    """Leave out the resource that Ray makes up for each node."""
    return {key: value for key, value in resources.items() if not key.startswith("node:")}
