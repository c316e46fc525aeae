"""Choosing where programs run by what a transform was given."""

from __future__ import annotations

from llm_transforms.errors import InvalidArgumentError
from llm_transforms.execution import Executor, FreshProcesses, PersistentProcesses, SharedService
from llm_transforms.sessions import SharedSessions
from python_executor import Execution
from services_core import ServiceBase, get_services

_DEFAULT_NAMESPACE = "services"


def check_timeout(timeout: float | None) -> None:
    """Check the seconds that a program may run where they are given, not at the first program.

    Raises:
        InvalidArgumentError: They are None.
        python_executor.InvalidArgumentError: They are no positive, finite number, in the executor's
            own words (for another type an `InvalidArgumentTypeError`).
    """
    if timeout is None:  # a limit of the executor's own to an `Execution`; nobody's here
        raise InvalidArgumentError("timeout", timeout, "a positive number of seconds")
    Execution("", timeout)


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
