"""A service with `max_restarts` comes back, and its handle follows it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from services_core.errors import ServiceDiedError
from services_core.handles import Handle
from services_core.registry import ServiceBase
from services_core.testing.capabilities import Capability
from services_core.testing.observing import eventually, is_running
from services_core.testing.promises.basis import Promises, needs
from services_core.testing.samples import Counter, Failing


class Restarts(Promises):
    """A service with `max_restarts` comes back, and its handle follows it."""

    @needs(Capability.RESTARTS)
    def test_a_service_that_dies_is_started_again(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter, 5, max_restarts=1)
        first = counter.pid()
        assert counter.add() == 6
        os.kill(first, signal.SIGKILL)
        # The first call may be faster than the signal; whatever fails says that it comes back.
        seen: list[bool] = []
        assert eventually(lambda: _restarted(counter, first, seen))
        assert set(seen) <= {True}
        second = counter.pid()
        assert second != first
        assert counter.add(0) == 5
        assert services["counter"] == counter
        info = services.describe("counter")
        assert (info.state, info.restarts, info.pid) == ("running", 1, second)

        os.kill(second, signal.SIGKILL)
        assert eventually(lambda: "counter" not in services)
        with pytest.raises(ServiceDiedError) as caught:
            counter.add()
        assert not caught.value.restarting

    @needs(Capability.RESTARTS)
    def test_a_call_that_its_service_died_of_is_not_made_again(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        mark = tmp_path / "mark"
        failing = services.register("failing", Failing, max_restarts=1)
        with pytest.raises(ServiceDiedError):
            failing.leave_a_mark_and_go(str(mark))
        assert eventually(lambda: _answers(failing))
        assert mark.read_text() == "called\n"

    @needs(Capability.RESTARTS)
    def test_one_that_is_ended_is_not_started_again(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter, max_restarts=-1)
        pid = counter.pid()
        services.unregister("counter")
        assert eventually(lambda: not is_running(pid))
        assert "counter" not in services
        with pytest.raises(ServiceDiedError) as caught:
            counter.add()
        assert not caught.value.restarting


def _answers(failing: Handle) -> bool:
    try:
        return bool(failing.well())
    except ServiceDiedError:
        return False


def _restarted(counter: Handle, old: int, restarting: list[bool]) -> bool:
    """Whether another process answers; notes what errors say until then."""
    try:
        pid: int = counter.pid()
    except ServiceDiedError as error:
        restarting.append(error.restarting)
        return False
    return pid != old
