"""One registry API for the services that the workers of a job share, over any backend.

Start with `get_services`: it opens a namespace as a `ServiceBase`, where a worker registers a class
under a name and every other worker finds it and gets a `Handle`. To write a backend, implement the
primitives of `ServiceBase` and of `Connection`; `services_core.testing` checks it.
"""

from services_core.backends import ENTRY_POINT_GROUP, get_services, installed_backends
from services_core.batches import KeyGroup, call_by_key, call_each_replica, group_by_replica
from services_core.connections import (
    CallOptions,
    Connection,
    MethodKind,
    ServiceKey,
    public_methods,
)
from services_core.construction import Construction
from services_core.errors import (
    AmbiguousOptionError,
    BackendLoadError,
    BackendNotInstalledError,
    BlockingCallError,
    HandleForkedError,
    InvalidNameError,
    InvalidOptionError,
    NotAClientError,
    RegistryClosedError,
    RemoteError,
    ServiceDiedError,
    ServiceError,
    ServiceExistsError,
    ServiceNotFoundError,
    ServiceStartError,
    ServiceTimeoutError,
    UnknownBackendError,
)
from services_core.handles import Handle, Method, native
from services_core.inline import InlineService
from services_core.options import PORTABLE_OPTIONS, ServiceOptions
from services_core.owners import ServiceOwner
from services_core.registry import ServiceBase
from services_core.services import ServiceInfo, ServiceSpec, ServiceState

__all__ = [
    "ENTRY_POINT_GROUP",
    "PORTABLE_OPTIONS",
    "AmbiguousOptionError",
    "BackendLoadError",
    "BackendNotInstalledError",
    "BlockingCallError",
    "CallOptions",
    "Connection",
    "Construction",
    "Handle",
    "HandleForkedError",
    "InlineService",
    "InvalidNameError",
    "InvalidOptionError",
    "KeyGroup",
    "Method",
    "MethodKind",
    "NotAClientError",
    "RegistryClosedError",
    "RemoteError",
    "ServiceBase",
    "ServiceDiedError",
    "ServiceError",
    "ServiceExistsError",
    "ServiceInfo",
    "ServiceKey",
    "ServiceNotFoundError",
    "ServiceOptions",
    "ServiceOwner",
    "ServiceSpec",
    "ServiceStartError",
    "ServiceState",
    "ServiceTimeoutError",
    "UnknownBackendError",
    "call_by_key",
    "call_each_replica",
    "get_services",
    "group_by_replica",
    "installed_backends",
    "native",
    "public_methods",
]
