"""What a caller is told of a service that is gone."""

from __future__ import annotations

from pathlib import Path

from services_core import ServiceDiedError, ServiceKey
from services_core.waiting import looks
from services_local import records
from services_local.channels import Channel
from services_local.runtime import RuntimeDirectory

# A process that dies closes its sockets before it frees its lock. Who is told that the service died
# shall find its name free (seconds).
_LAST_MOMENTS = 0.1


def death_of(
    key: ServiceKey, path: Path, channel: Channel | None, error: BaseException | None
) -> ServiceDiedError:
    """The error of a call whose service died.

    Args:
        key: The service.
        path: Its socket.
        channel: What the call was made on, if it got that far.
        error: What the socket said.
    """
    restarting = _comes_back(key, path, None if channel is None else channel.peer_pid)
    return ServiceDiedError(key.name, str(error or ""), restarting=restarting)


def _comes_back(key: ServiceKey, path: Path, pid: int | None) -> bool:
    """Whether the service will be back, or is.

    Args:
        key: The service.
        path: Its socket.
        pid: The process that died, if it is known.
    """
    runtime = RuntimeDirectory.of_socket(path)
    for _ in looks(_LAST_MOMENTS):
        record = records.find(runtime, key.namespace, key.name)
        if record is None or record.incarnation != key.incarnation or record.state == "ending":
            return False
        if record.is_restarting or pid not in (None, record.pid):
            return True
        # Its supervisor, if that lives, hasn't seen it yet.
        if record.may_restart and records.is_guarded(runtime, key.namespace, key.name):
            return True
    return False
