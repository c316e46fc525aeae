"""What may name a namespace or a service, and how replicas are named."""

from __future__ import annotations

import re

from services_core.errors import InvalidNameError

_REPLICA = re.compile(r"(?P<service>.+)#replica-(?P<index>[1-9][0-9]*)", re.DOTALL)


def check_name(what: str, value: object) -> str:
    """Return `value` if it can name a namespace or a service.

    Raises:
        InvalidNameError: It is not a string, is empty, holds a NUL character or a lone surrogate,
            or is a name that replicas get.
    """
    if not isinstance(value, str) or not value or "\0" in value or _REPLICA.fullmatch(value):
        raise InvalidNameError(what, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:  # a lone surrogate: no backend can write it anywhere
        raise InvalidNameError(what, value) from error
    return value


def replica_name(service: str, index: int) -> str:
    """The name of one replica. The first has the service's own, whose winner may add the others."""
    return f"{service}#replica-{index}" if index else service


def split_replica(name: str) -> tuple[str, int]:
    """The service that a replica belongs to, and which one it is, from 0."""
    match = _REPLICA.fullmatch(name)
    return (match["service"], int(match["index"])) if match else (name, 0)
