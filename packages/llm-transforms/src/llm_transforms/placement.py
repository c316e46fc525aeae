"""Choosing where programs run by what a transform was given."""

from __future__ import annotations

from llm_transforms.errors import InvalidArgumentError
from llm_transforms.execution import Executor, FreshProcesses, PersistentProcesses, SharedService
from llm_transforms.sessions import SharedSessions
from services_core import ServiceBase, get_services

_DEFAULT_NAMESPACE = "services"


def make_executor(
    services: str | ServiceBase | None,
    service_name: str,
    namespace: str | None,
    *,
    persistent: bool,
    timeout: float,
    tells_outages: bool = False,
) -> Executor:
    """Return what runs the programs; the arguments and errors are those of `PythonInterpreter`.

    `tells_outages` is its `on_service_error="message"`.
    """
    if services is None:
        return PersistentProcesses(timeout) if persistent else FreshProcesses(timeout)
    shared = SharedSessions if persistent else SharedService
    if isinstance(services, ServiceBase):
        if namespace not in (None, services.namespace):
            expected = f"None or the registry's own, {services.namespace!r}"
            raise InvalidArgumentError("namespace", namespace, expected)
        return shared(services, service_name, close_registry=False, tells_outages=tells_outages)
    if not isinstance(services, str):
        raise InvalidArgumentError(
            "services", services, "the name of a backend, an open registry, or None"
        )
    opened = get_services(services, _DEFAULT_NAMESPACE if namespace is None else namespace)
    try:
        return shared(opened, service_name, close_registry=True, tells_outages=tells_outages)
    except BaseException:
        opened.close()
        raise
