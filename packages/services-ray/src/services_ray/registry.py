"""`RayService`: the registry of a Ray cluster.

Named actors in a Ray namespace of their own are the registry: creating one is atomic, and Ray frees
the name when it dies. No actor is added, and the user's class is not wrapped. Which of the actors
are constructed, the `records` tell.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import ray
from ray import cloudpickle
from ray.actor import ActorHandle
from ray.exceptions import ActorAlreadyExistsError

from services_core import (
    CallOptions,
    Connection,
    RegistryClosedError,
    ServiceBase,
    ServiceDiedError,
    ServiceExistsError,
    ServiceInfo,
    ServiceSpec,
    ServiceStartError,
    ServiceTimeoutError,
    public_methods,
)
from services_core.construction import Construction
from services_core.names import split_replica
from services_core.options import chosen_options
from services_core.services import class_name
from services_core.waiting import looks
from services_ray import actors, records, states
from services_ray.client import RayConnection, connect
from services_ray.construction import RayConstruction
from services_ray.description import describe
from services_ray.forks import check_fork
from services_ray.options import native_options
from services_ray.records import Record
from services_ray.streams import can_be_paced

_log = logging.getLogger("services_ray")

# Two threads that open the first registry must not start two Rays.
_starting = threading.Lock()

# What a registrar may take beyond `start_timeout`, clocks that differ included (seconds).
_GRACE_SECONDS = 30.0

# Other processes find a killed actor for some 10 ms still (seconds, at most).
_STALE_SECONDS = 5.0


class _Found(NamedTuple):
    """An actor with the name of a service, and its record if it has one."""

    actor: ActorHandle[Any]
    record: Record | None


class RayService(ServiceBase):
    """Services that are named actors of a Ray cluster.

    An initialised Ray is used as it is, its namespace included; otherwise `ray.init` is called with
    a copy of `ray_init_config`. Nobody but the user shuts Ray down. Services are detached actors:
    they outlive the worker that registered them, until `unregister`, `reset`, or the cluster's end,
    whatever `lifetime` says.

    Besides the portable options, `register` takes all that Ray takes for an actor (`resources`,
    `runtime_env`, `scheduling_strategy`, ...). Replicas spread over the nodes unless
    `scheduling_strategy` says otherwise.

    Args:
        namespace: Services of one namespace don't see those of another, nor the user's own actors.
        ray_init_config: Keywords of `ray.init`, used only when Ray isn't initialised yet.

    Raises:
        HandleForkedError: This process was forked from one in which Ray was initialised.
    """

    backend: ClassVar[str] = "ray"
    native_options: ClassVar[frozenset[str]] = native_options()

    def __init__(
        self, namespace: str = "services", *, ray_init_config: Mapping[str, Any] | None = None
    ) -> None:
        config = dict(ray_init_config or {})
        super().__init__(namespace, **({"ray_init_config": config} if config else {}))
        check_fork(namespace)
        with _starting:
            if not ray.is_initialized():
                ray.init(**config)
        self._session = states.session()
        self._ray_namespace = f"services_core:{namespace}"
        self._known: dict[str, RayConnection] = {}
        # Bound services end when nobody holds the handle with which they were created.
        self._bound: dict[str, ActorHandle[Any]] = {}

    # -- starting --------------------------------------------------------------------------------

    def _start(self, spec: ServiceSpec) -> Construction:
        self._check_ray()
        # Whoever has a record by now is dead once the name is ours.
        dead = records.keys(self.namespace, spec.name)
        actor = self._create(spec)
        try:
            records.delete(dead)
            record = self._reserve(spec, actor)
            construction = RayConstruction(spec, record, actor, self._ray_namespace)
        except BaseException:
            actors.kill(actor, spec.name, self._ray_namespace)
            raise
        if spec.bound:
            self._bound[spec.name] = actor
        return construction

    def _create(self, spec: ServiceSpec) -> ActorHandle[Any]:
        for _ in looks(_STALE_SECONDS):
            try:
                return actors.create(spec, self._ray_namespace)
            except ActorAlreadyExistsError as error:
                self._connect(spec.name)  # which ends what a dead registrar has left
                # Ray asks this process's cache first, and that may not know yet of a death.
                if spec.name in actors.names(self._ray_namespace):
                    raise ServiceExistsError(spec.name, self.namespace) from error
            except TypeError as error:
                # Ray compares the arguments with the signature before it creates anything.
                raise ServiceStartError(spec.name, str(error)) from error
        raise ServiceExistsError(spec.name, self.namespace)

    def _reserve(self, spec: ServiceSpec, actor: ActorHandle[Any]) -> Record:
        record = Record(
            namespace=self.namespace,
            name=spec.name,
            incarnation=spec.incarnation,
            replicas=spec.options.replicas,
            actor_id=states.actor_id(actor),
            class_name=class_name(spec.cls),
            methods=public_methods(spec.cls),
            close_timeout=spec.options.close_timeout,
            options=chosen_options(spec.options),
            paced=can_be_paced(spec.cls),
            overdue_at=time.time() + spec.options.start_timeout + _GRACE_SECONDS,
        )
        records.put(record)
        return record

    # -- finding ---------------------------------------------------------------------------------

    def _connect(self, name: str) -> Connection | None:
        self._check_ray()
        known = self._known.get(name)
        if known is not None and states.is_known_to_live(known.native):
            return known
        found = self._find(name)
        if found is None or found.record is None or not found.record.is_published:
            self._known.pop(name, None)
            if found is not None:
                self._bury(name, found)
            return None
        actor, record = found.actor, found.record
        if known is None or known.key != record.key:
            known = self._known[name] = connect(record, actor)
            called = states.is_known_to_live(actor) or "max_pending_calls" in record.options
            if not called:
                # Ray tells a process of the state of those actors alone that it has called.
                known.native.__ray_ready__.remote()
        return known

    def _find(self, name: str) -> _Found | None:
        actor = actors.find(name, self._ray_namespace)
        if actor is None:
            return None
        return _Found(actor, records.find(self.namespace, name, states.actor_id(actor)))

    def _names(self, *, starting: bool = False) -> list[str]:
        self._check_ray()
        names = actors.names(self._ray_namespace)
        if not starting:
            return [name for name in names if self._connect(name) is not None]
        # Nobody registers a name whose replicas are there: what a dead registrar has left of them
        # must not be.
        replicated = {split_replica(name)[0] for name in names if split_replica(name)[1]}
        unsure = [name for name in names if split_replica(name)[0] in replicated]
        if None in [self._connect(name) for name in unsure]:
            return actors.names(self._ray_namespace)
        return names

    def _describe(self, name: str) -> ServiceInfo | None:
        self._check_ray()
        found = self._find(name)
        if found is None or found.record is None:
            return None
        return describe(found.record, found.actor)

    # -- ending ----------------------------------------------------------------------------------

    def _stop(self, name: str) -> bool:
        self._check_ray()
        found = self._find(name)
        if found is None:
            return False
        self._end(name, found)
        self._known.pop(name, None)
        self._bound.pop(name, None)
        return True

    def _end(self, name: str, found: _Found) -> None:
        record = found.record
        if record is not None:
            if record.is_published and "close" in record.methods:
                self._close(record, found.actor)
            records.forget(record)  # lookups find the actor for some milliseconds still
        actors.kill(found.actor, name, self._ray_namespace)
        if record is not None and not record.is_published:
            records.forget(record)  # its registrar may have published it meanwhile

    def _close(self, record: Record, actor: ActorHandle[Any]) -> None:
        try:
            closing = CallOptions(timeout=record.close_timeout)
            connect(record, actor).call("close", (), {}, closing)
        except ServiceDiedError:
            return  # it was faster
        except ServiceTimeoutError as error:
            _log.warning("%s; the service is killed", error)
        except Exception as error:  # noqa: BLE001 - close() may raise anything; it ends all the same
            _log.warning("close() of service %r failed: %r", record.name, error)

    def _bury(self, name: str, found: _Found) -> None:
        """End an actor that nobody will publish: its registrar died in the middle."""
        lost = states.has_lost_its_creator(found.actor)
        if lost is None:
            lost = found.record is not None and found.record.is_overdue
        if not lost:
            return
        if found.record is not None and found.record.replicas > 1 and not split_replica(name)[1]:
            # It holds the name for its replicas, and some of them may be published.
            for other in actors.names(self._ray_namespace):
                sibling = self._find(other) if split_replica(other)[0] == name != other else None
                if sibling is None or sibling.record is None:
                    continue
                if sibling.record.incarnation == found.record.incarnation:
                    self._end(other, sibling)
        self._end(name, found)

    def _check_ray(self) -> None:
        check_fork(self.namespace)
        session = states.session()
        if session is None:  # it would start another one
            raise RegistryClosedError(self.namespace)
        if session is not self._session:
            # Ray was shut down and initialised anew, perhaps on the same cluster.
            self._session = session
            self._known.clear()
            self._routers.clear()
            self._bound.clear()

    # -- clients of owners -----------------------------------------------------------------------

    def _client_content(self, client: Any) -> Any:
        return cloudpickle.dumps(client)  # type: ignore[no-untyped-call]

    def _client_from(self, content: Any) -> Any:
        return cloudpickle.loads(content)
