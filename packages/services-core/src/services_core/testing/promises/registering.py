"""Registering is atomic, and registered means constructed."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services_core.errors import (
    ServiceExistsError,
    ServiceNotFoundError,
    ServiceStartError,
    ServiceTimeoutError,
)
from services_core.handles import Handle
from services_core.registry import ServiceBase
from services_core.testing import samples
from services_core.testing.capabilities import Capability
from services_core.testing.observing import eventually
from services_core.testing.promises.basis import OpenRegistry, Promises, needs
from services_core.testing.samples import (
    Counter,
    Echo,
    Failing,
    Gated,
    Leaver,
)


class Registering(Promises):
    """Registering is atomic, and registered means constructed."""

    def test_a_taken_name_is_refused_and_its_service_unharmed(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter, 1)
        with pytest.raises(ServiceExistsError, match="counter") as caught:
            services.register("counter", Echo)
        assert isinstance(caught.value, ValueError)
        assert counter.add() == 2

    def test_of_many_registrations_of_a_name_one_wins(self, open_registry: OpenRegistry) -> None:
        registries = [open_registry("race") for _ in range(8)]
        start = threading.Barrier(len(registries))

        def register(services: ServiceBase) -> Handle | None:
            start.wait(30)
            try:
                return services.register("counter", Counter)
            except ServiceExistsError:
                return None

        with ThreadPoolExecutor(len(registries)) as pool:
            handles = [h for h in pool.map(register, registries) if h is not None]
        assert len(handles) == 1
        assert handles[0] == registries[0]["counter"]

    def test_of_many_workers_that_register_a_name_one_wins(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        gate = str(tmp_path / "gate")
        with ThreadPoolExecutor(3) as pool:
            workers = [
                pool.submit(self.run_in_worker, _registers, services, gate) for _ in range(3)
            ]
            try:
                # While the constructor of the winner runs, the others know that they have lost.
                assert eventually(lambda: sum(worker.done() for worker in workers) == 2)
            finally:
                Path(gate).touch()
            assert sorted(worker.result(30) for worker in workers) == [False, False, True]
        assert services["gated"].wait(gate) == "open"

    def test_get_or_register_gives_all_racers_one_service(
        self, open_registry: OpenRegistry
    ) -> None:
        registries = [open_registry("race") for _ in range(8)]

        def get(services: ServiceBase) -> Handle:
            return services.get_or_register("counter", Counter)

        with ThreadPoolExecutor(len(registries)) as pool:
            assert len(set(pool.map(get, registries))) == 1

    def test_a_name_is_reserved_while_its_constructor_runs(
        self, services: ServiceBase, open_registry: OpenRegistry, tmp_path: Path
    ) -> None:
        gate, entered = str(tmp_path / "gate"), str(tmp_path / "entered")
        other = open_registry("conformance")
        with ThreadPoolExecutor(3) as pool:
            registering = pool.submit(services.register, "gated", Gated, gate, entered)
            try:
                samples.wait_for_file(entered)
                assert min(_refusal(other) for _ in range(3)) < 0.1
                assert "gated" not in other
                assert other.list() == []
                with pytest.raises(ServiceNotFoundError):
                    other.get("gated")
                waiting = pool.submit(other.wait_for, "gated", 30)
                joining = pool.submit(other.get_or_register, "gated", Counter)
                assert not waiting.done()
                assert not joining.done()
            finally:
                Path(gate).touch()
            assert registering.result(30) == waiting.result(30) == joining.result(30)
        assert other.list() == ["gated"]

    def test_wait_for_gives_up_at_its_timeout(self, services: ServiceBase) -> None:
        with pytest.raises(ServiceTimeoutError, match="nobody") as caught:
            services.wait_for("nobody", timeout=0.05)
        assert isinstance(caught.value, TimeoutError)

    def test_a_constructor_that_raises_fails_the_registration(self, services: ServiceBase) -> None:
        with pytest.raises(ServiceStartError, match="BrokenError") as caught:
            services.register("failing", Failing, at_start=True)
        assert "raise BrokenError(7)" in (caught.value.remote_traceback or "")
        assert services.list() == []
        assert services.register("failing", Failing).well() == "well"

    def test_resources_that_cant_be_had_fail_the_registration(self, services: ServiceBase) -> None:
        with pytest.raises(ServiceStartError, match="10000"):
            services.register("greedy", Counter, num_cpus=10_000, start_timeout=2.0)
        assert services.list() == []
        assert services.register("greedy", Counter).add() == 1

    @needs(Capability.PROCESSES)
    def test_a_constructor_that_ends_its_process_fails_the_registration(
        self, services: ServiceBase
    ) -> None:
        with pytest.raises(ServiceStartError, match="leaver"):
            services.register("leaver", Leaver)
        assert services.list() == []
        assert services.register("leaver", Counter).add() == 1

    @needs(Capability.START_TIMEOUT)
    def test_a_constructor_that_hangs_is_ended_at_start_timeout(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        with pytest.raises(ServiceStartError, match="start_timeout"):
            services.register("stuck", Gated, str(tmp_path / "never"), start_timeout=2.0)
        assert services.list() == []
        assert services.register("stuck", Counter).add() == 1


def _registers(services: ServiceBase, gate: str) -> bool:
    try:
        services.register("gated", Gated, gate)
    except ServiceExistsError:
        return False
    return True


def _refusal(services: ServiceBase) -> float:
    """Seconds until a registration under a reserved name is refused."""
    start = time.monotonic()
    with pytest.raises(ServiceExistsError):
        services.register("gated", Counter)
    return time.monotonic() - start
