"""Ray's exceptions as those of services_core."""

from __future__ import annotations

import re
from typing import Any

from ray.actor import ActorHandle
from ray.exceptions import (
    ActorPlacementGroupRemoved,
    ActorUnavailableError,
    ActorUnschedulableError,
    GetTimeoutError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    UnserializableException,
    WorkerCrashedError,
)

from services_core import RemoteError, ServiceDiedError, ServiceTimeoutError
from services_core.remote_errors import with_remote_traceback
from services_ray import states

# What Ray raises for a lost actor: most are no RayActorError, and tell why it was lost, or why it
# could not be started again.
_LOST = (
    RayActorError,
    ActorPlacementGroupRemoved,
    ActorUnschedulableError,
    NodeDiedError,
    OutOfMemoryError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def translate(
    error: BaseException,
    actor: ActorHandle[Any],
    name: str,
    method: str,
    timeout: float | None = None,
) -> BaseException:
    """What a caller of `call`, `submit` or `aio` shall see instead of Ray's own exception.

    A method's exception becomes itself again, with the remote traceback as its cause; one that
    could not be pickled or rebuilt, `RemoteError`; a lost actor, `ServiceDiedError`. Anything else
    that Ray raises is returned as it is.

    Args:
        error: What Ray raised.
        actor: The actor that was called.
        name: The service's name.
        method: The method that was called.
        timeout: The call's timeout in seconds, if it had one.
    """
    if isinstance(error, RayTaskError):
        return _own_type(error)
    if isinstance(error, UnserializableException):
        return _of_text(str(error))
    if isinstance(error, _LOST):
        restarting = _comes_back(actor, error)
        return _caused(ServiceDiedError(name, _first_line(error), restarting=restarting), error)
    if isinstance(error, GetTimeoutError | TimeoutError) and timeout is not None:
        return _caused(ServiceTimeoutError(name, f"{method}()", timeout), error)
    return error


def without_colours(text: str) -> str:
    """A text of Ray's without the escape sequences of a terminal."""
    return _COLOURS.sub("", text)


def _comes_back(actor: ActorHandle[Any], error: BaseException) -> bool:
    """Whether a lost actor is back, or on its way back."""
    facts = states.actor_facts(actor)
    if facts is not None:
        return facts.state != "DEAD"
    return isinstance(error, ActorUnavailableError) or states.is_known_to_restart(actor)


def _own_type(error: RayTaskError) -> BaseException:
    # Its attribute traceback_str is gone in the class that Ray makes of it and of the cause's.
    text = without_colours(str(error))
    cause = error.cause
    return _of_text(text) if type(cause) is RayError else with_remote_traceback(cause, text)


def _of_text(text: str) -> RemoteError:
    """What is left of an exception that can't be pickled, or not be rebuilt: its traceback."""
    plain = without_colours(text)
    type_name, _, message = plain.rstrip().rpartition("\n")[2].partition(": ")
    return RemoteError(type_name, message, plain)


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
