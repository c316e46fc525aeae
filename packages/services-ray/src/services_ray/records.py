"""Which services are constructed: records in the key-value store of Ray's control service.

Ray lists and finds an actor by name already while its constructor runs or waits for resources. So
the actor writes a record itself, in the first call that it serves; a name without the record of its
present actor is one that is being constructed. The store is internal to Ray, though Ray Serve and
others build on it; nothing else here touches it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_get,
    _internal_kv_put,
)

from services_core import MethodKind, ServiceKey

_STORE = b"services_core"


@dataclass(frozen=True)
class Record:
    """What lookups know of a service that is constructed."""

    namespace: str
    name: str
    actor_id: str
    class_name: str
    methods: dict[str, MethodKind]
    close_timeout: float
    options: dict[str, Any]
    pid: int | None = None
    node: str | None = None
    started_at: float | None = None

    @property
    def key(self) -> ServiceKey:
        """Identity of the service."""
        return ServiceKey("ray", self.namespace, self.name, self.actor_id)


def write_from_actor(_actor: object, record: Record) -> Record:
    """Complete a record in the actor's own process, and publish it.

    Args:
        _actor: The service's object, which Ray passes.
        record: What the registrar knows.
    """
    own = replace(record, pid=os.getpid(), node=socket.gethostname(), started_at=time.time())
    _internal_kv_put(_key(record.namespace, record.name), json.dumps(asdict(own)), namespace=_STORE)
    return own


def find(namespace: str, name: str) -> Record | None:
    """The record under a name; its actor may be gone, or another one have the name by now."""
    data: bytes | None = _internal_kv_get(_key(namespace, name), namespace=_STORE)
    return None if data is None else Record(**json.loads(data))


def forget(record: Record) -> None:
    """Remove a record, unless it is another actor's by now."""
    current = find(record.namespace, record.name)
    if current is not None and current.actor_id == record.actor_id:
        _internal_kv_del(_key(record.namespace, record.name), namespace=_STORE)


def _key(namespace: str, name: str) -> bytes:
    return json.dumps([namespace, name]).encode()
