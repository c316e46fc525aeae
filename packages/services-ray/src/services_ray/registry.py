"""`RayService`: the registry of a Ray cluster.

Named actors in a Ray namespace of their own are the registry: creating one is atomic, and Ray frees
the name when it dies. No actor is added, and the user's class is not wrapped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorAlreadyExistsError, GetTimeoutError, RayActorError

from services_core import (
    CallOptions,
    Connection,
    ServiceBase,
    ServiceDiedError,
    ServiceExistsError,
    ServiceInfo,
    ServiceSpec,
    ServiceStartError,
    ServiceTimeoutError,
    public_methods,
)
from services_core.options import chosen_options
from services_core.services import class_name
from services_core.waiting import looks
from services_ray import records
from services_ray.client import RayConnection
from services_ray.options import native_options
from services_ray.records import Record

_log = logging.getLogger("services_ray")

# Two threads that open the first registry must not start two Rays.
_starting = threading.Lock()

# Options that Ray takes when the class becomes an actor class, and not later.
_OF_THE_CLASS = frozenset({"concurrency_groups"})

# A killed actor may be found for some 10 ms still; it is waited for, this long at most (seconds).
_FORGET_SECONDS = 5.0


class RayService(ServiceBase):
    """Services that are named actors of a Ray cluster.

    An initialised Ray is used as it is, its namespace included; otherwise `ray.init` is called with
    a copy of `ray_init_config`. Nobody but the user shuts Ray down. Services are detached actors:
    they outlive the worker that registered them, until `unregister`, `reset`, or the cluster's end,
    whatever `lifetime` says.

    Besides the portable options, `register` takes all that Ray takes for an actor (`resources`,
    `runtime_env`, `scheduling_strategy`, ...).

    Args:
        namespace: Services of one namespace don't see those of another, nor the user's own actors.
        ray_init_config: Keywords of `ray.init`, used only when Ray isn't initialised yet.
    """

    backend: ClassVar[str] = "ray"
    native_options: ClassVar[frozenset[str]] = native_options()

    def __init__(
        self, namespace: str = "services", *, ray_init_config: Mapping[str, Any] | None = None
    ) -> None:
        config = dict(ray_init_config or {})
        super().__init__(namespace, **({"ray_init_config": config} if config else {}))
        with _starting:
            if not ray.is_initialized():
                ray.init(**config)
        self._ray_namespace = f"services_core:{namespace}"

    def _start(self, spec: ServiceSpec) -> Connection:
        actor: Any = self._create(spec)
        record = Record(
            namespace=self.namespace,
            name=spec.name,
            actor_id=_actor_id(actor),
            class_name=class_name(spec.cls),
            methods=public_methods(spec.cls),
            close_timeout=spec.options.close_timeout,
            options=chosen_options(spec.options),
        )
        try:
            # The first call that the actor serves: answered means constructed.
            written = actor.__ray_call__.remote(records.write_from_actor, record)
            ray.get(written, timeout=spec.options.start_timeout)
        except BaseException as error:
            self._kill(spec.name, actor)
            if isinstance(error, RayActorError):
                raise ServiceStartError(
                    spec.name, "its constructor raised, or its process ended", str(error)
                ) from error
            if isinstance(error, GetTimeoutError):
                raise ServiceStartError(spec.name, _why_so_long(spec)) from error
            raise
        return RayConnection(record.key, record.methods, actor)

    def _create(self, spec: ServiceSpec) -> ActorHandle[Any]:
        options = spec.options
        asked = {
            "num_cpus": options.num_cpus,
            "num_gpus": options.num_gpus,
            "memory": options.memory,
            "max_concurrency": options.max_concurrency,
            "max_restarts": options.max_restarts,
        }
        given = {key: value for key, value in asked.items() if value is not None}
        of_the_class = {k: v for k, v in options.native.items() if k in _OF_THE_CLASS}
        of_the_actor = {k: v for k, v in options.native.items() if k not in _OF_THE_CLASS}
        actor_class: Any = ray.remote(**of_the_class) if of_the_class else ray.remote
        try:
            actor: ActorHandle[Any] = (
                actor_class(spec.cls)
                .options(
                    name=spec.name,
                    namespace=self._ray_namespace,
                    lifetime="detached",
                    **given,
                    **of_the_actor,
                )
                .remote(*spec.args, **spec.kwargs)
            )
        except ActorAlreadyExistsError as error:
            raise ServiceExistsError(spec.name, self.namespace) from error
        except TypeError as error:
            # Ray compares the arguments with the signature before it creates anything.
            raise ServiceStartError(spec.name, str(error)) from error
        return actor

    def _connect(self, name: str) -> Connection | None:
        found = self._find(name)
        if found is None:
            return None
        record, actor = found
        return RayConnection(record.key, record.methods, actor)

    def _names(self, *, starting: bool = False) -> list[str]:
        alive = [
            actor["name"]
            for actor in ray.util.list_named_actors(all_namespaces=True)
            if actor["namespace"] == self._ray_namespace
        ]
        return alive if starting else [name for name in alive if self._find(name) is not None]

    def _stop(self, name: str) -> bool:
        actor = self._actor(name)
        if actor is None:
            return False
        found = self._find(name)
        if found is not None and "close" in found[0].methods:
            self._close(found[0], actor)
        self._kill(name, actor)
        if found is not None:
            records.forget(found[0])
        return True

    def _describe(self, name: str) -> ServiceInfo | None:
        found = self._find(name)
        if found is None:
            return None
        record, _ = found
        return ServiceInfo(
            name=name,
            namespace=self.namespace,
            backend=self.backend,
            class_name=record.class_name,
            state="running",
            pid=record.pid,
            node=record.node,
            started_at=record.started_at,
            options=record.options,
        )

    def _find(self, name: str) -> tuple[Record, ActorHandle[Any]] | None:
        """The record and the actor of a service that lives and is constructed."""
        record = records.find(self.namespace, name)
        actor = None if record is None else self._actor(name)
        if record is None or actor is None or _actor_id(actor) != record.actor_id:
            return None
        return record, actor

    def _actor(self, name: str) -> ActorHandle[Any] | None:
        try:
            return ray.get_actor(name, namespace=self._ray_namespace)
        except ValueError:  # Ray's word for "there is none"
            return None

    def _close(self, record: Record, actor: ActorHandle[Any]) -> None:
        try:
            closing = CallOptions(timeout=record.close_timeout)
            RayConnection(record.key, record.methods, actor).call("close", (), {}, closing)
        except ServiceDiedError:
            return  # it was faster
        except ServiceTimeoutError as error:
            _log.warning("%s; the service is killed", error)
        except Exception as error:  # noqa: BLE001 - close() may raise anything; it ends all the same
            _log.warning("close() of service %r failed: %r", record.name, error)

    def _kill(self, name: str, actor: ActorHandle[Any]) -> None:
        ray.kill(actor, no_restart=True)
        # get_actor may find it for a moment still.
        for _ in looks(_FORGET_SECONDS):
            found = self._actor(name)
            if found is None or _actor_id(found) != _actor_id(actor):
                return


def _why_so_long(spec: ServiceSpec) -> str:
    wanted = {"num_cpus": 1, **chosen_options(spec.options)}
    asked = {k: wanted[k] for k in ("num_cpus", "num_gpus", "memory", "resources") if k in wanted}
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


def _actor_id(actor: ActorHandle[Any]) -> str:
    return str(actor._actor_id.hex())  # noqa: SLF001 - Ray has no public name for it
