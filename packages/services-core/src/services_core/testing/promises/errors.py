"""Errors travel, and no call outlives its service."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from services_core.errors import (
    InvalidOptionError,
    RemoteError,
    ServiceDiedError,
    ServiceTimeoutError,
)
from services_core.registry import ServiceBase
from services_core.testing.capabilities import Capability
from services_core.testing.promises.basis import Promises, needs
from services_core.testing.samples import (
    BrokenError,
    Counter,
    Failing,
    Gated,
)


class Errors(Promises):
    """Errors travel, and no call outlives its service."""

    def test_a_methods_exception_arrives_as_its_own_type(self, services: ServiceBase) -> None:
        failing = services.register("failing", Failing)
        with pytest.raises(BrokenError) as caught:
            failing.fail()
        assert caught.value.number == 7
        with pytest.raises(BrokenError):
            failing.fail.submit().result(30)
        with pytest.raises(BrokenError):
            asyncio.run(failing.fail.aio())
        assert failing.well() == "well"

    def test_what_a_generator_raises_comes_after_what_it_yields(
        self, services: ServiceBase
    ) -> None:
        failing = services.register("failing", Failing)
        items = failing.fail_while_streaming()
        assert next(items) == 1
        with pytest.raises(BrokenError) as caught:
            next(items)
        assert caught.value.number == 7

        async def read() -> None:
            items = failing.fail_while_streaming.aio()
            assert await anext(items) == 1
            await anext(items)

        with pytest.raises(BrokenError):
            asyncio.run(read())
        assert failing.well() == "well"

    @needs(Capability.PROCESSES)
    def test_it_brings_the_remote_traceback(self, services: ServiceBase) -> None:
        failing = services.register("failing", Failing)
        with pytest.raises(BrokenError) as called:
            failing.fail()
        with pytest.raises(BrokenError) as submitted:
            failing.fail.submit().result(30)
        with pytest.raises(BrokenError) as awaited:
            asyncio.run(failing.fail.aio())
        for caught in (called, submitted, awaited):
            assert "raise BrokenError(7)" in str(caught.value.__cause__)

    @needs(Capability.PROCESSES)
    def test_what_cant_be_pickled_arrives_as_an_error(self, services: ServiceBase) -> None:
        failing = services.register("failing", Failing)
        with pytest.raises(RemoteError, match="as you see") as caught:
            failing.fail_sealed()
        assert caught.value.type_name.endswith("SealedError")
        assert "fail_sealed" in caught.value.remote_traceback
        with pytest.raises(RemoteError, match="1 and 2") as caught:
            failing.fail_unbuildable()
        assert caught.value.type_name.endswith("UnbuildableError")
        assert "fail_unbuildable" in caught.value.remote_traceback
        for call in (failing.unpicklable, failing.unpicklable.submit):
            with pytest.raises(Exception, match="lock"):
                _wait(call())
        for send in (failing.well, failing.well.submit):
            with pytest.raises(TypeError, match="lock"):
                _wait(send(threading.Lock()))
        assert failing.well() == "well"

    def test_stop_iteration_is_an_error_like_any_other(self, services: ServiceBase) -> None:
        failing = services.register("failing", Failing)
        with pytest.raises(RuntimeError, match="StopIteration"):
            asyncio.run(failing.stop_iteration.options(timeout=30).aio())
        assert failing.well() == "well"

    def test_a_method_that_exits_doesnt_end_its_caller(self, services: ServiceBase) -> None:
        failing = services.register("failing", Failing)
        with pytest.raises((RemoteError, ServiceDiedError)):
            failing.exit()

    def test_a_timeout_ends_the_wait_and_not_the_service(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        gated = services.register("gated", Gated, max_concurrency=2)
        gate = str(tmp_path / "gate")
        with pytest.raises(ServiceTimeoutError, match="wait"):
            gated.wait.options(timeout=0.05)(gate)
        with pytest.raises(ServiceTimeoutError):
            asyncio.run(gated.wait.options(timeout=0.05).aio(gate))
        Path(gate).touch()
        assert gated.wait.options(timeout=30)(gate) == "open"
        with pytest.raises(InvalidOptionError, match="timeout"):
            gated.wait.options(timeout=0)

    def test_a_timeout_holds_for_each_item_of_a_generator(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        gated = services.register("gated", Gated, max_concurrency=4)
        gate = str(tmp_path / "gate")
        with pytest.raises(ServiceTimeoutError, match="items"):
            list(gated.items.options(timeout=0.05)(gate))

        async def first() -> str:
            item: str = await anext(gated.items.options(timeout=0.05).aio(gate))
            return item

        with pytest.raises(ServiceTimeoutError, match="items"):
            asyncio.run(first())
        Path(gate).touch()
        assert list(gated.items.options(timeout=30)(gate)) == ["open"]

    @needs(Capability.PROCESSES)
    def test_a_killed_service_is_gone_and_its_name_free(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        os.kill(counter.pid(), signal.SIGKILL)
        with pytest.raises(ServiceDiedError, match="counter"):
            counter.add()
        assert services.list() == []
        assert "counter" not in services
        assert services.register("counter", Counter).add() == 1
        with pytest.raises(ServiceDiedError):
            counter.add()

    @needs(Capability.PROCESSES)
    def test_a_call_under_way_ends_when_its_service_is_killed(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        gated = services.register("gated", Gated, max_concurrency=2)
        pid = services.describe("gated").pid
        assert pid is not None
        future = gated.wait.submit(str(tmp_path / "never"))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ServiceDiedError):
            future.result(30)

    @needs(Capability.PROCESSES)
    def test_a_method_that_ends_its_process_ends_its_calls(self, services: ServiceBase) -> None:
        leaver = services.register("leaver", Failing)
        with pytest.raises(ServiceDiedError, match="leaver"):
            leaver.leave()
        assert services.list() == []
        leaver = services.register("leaver", Failing)
        with pytest.raises(ServiceDiedError):
            asyncio.run(leaver.leave.aio())
        leaver = services.register("leaver", Failing)
        items = leaver.leave_while_streaming()
        assert next(items) == 1
        with pytest.raises(ServiceDiedError):
            next(items)


def _wait(answer: Any) -> Any:
    return answer.result(30) if isinstance(answer, Future) else answer
