"""Cleanup is graceful, and namespaces are isolated."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services_core.errors import (
    RegistryClosedError,
    ServiceDiedError,
)
from services_core.registry import ServiceBase
from services_core.testing.capabilities import Capability
from services_core.testing.observing import eventually, is_running
from services_core.testing.promises.basis import OpenRegistry, Promises, needs
from services_core.testing.samples import Careful, Counter, Faulty, Stubborn, wait_for_file


class Ending(Promises):
    """Cleanup is graceful, and namespaces are isolated."""

    def test_a_service_is_closed_before_it_ends(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        marks = [tmp_path / "first", tmp_path / "second"]
        for number, mark in enumerate(marks):
            services.register(f"counter-{number}", Counter, mark=str(mark))
        services.unregister("counter-0")
        assert marks[0].read_text() == "closed"
        services.reset()
        assert marks[1].read_text() == "closed"

    def test_after_unregister_the_name_is_free_and_the_handle_dead(
        self, services: ServiceBase
    ) -> None:
        old = services.register("counter", Counter, 5)
        services.unregister("counter")
        for handle in (old, pickle.loads(pickle.dumps(old))):
            with pytest.raises(ServiceDiedError):
                handle.add()
        new = services.register("counter", Counter)
        assert new.add() == 1
        assert new != old
        with pytest.raises(ServiceDiedError):
            old.add()

    @needs(Capability.PROCESSES)
    def test_reset_ends_every_process(self, services: ServiceBase) -> None:
        pids = [services.register(f"counter-{n}", Counter).pid() for n in range(3)]
        assert len({*pids, os.getpid()}) == 4
        services.reset()
        assert services.list() == []
        assert eventually(lambda: not any(map(is_running, pids)))

    @needs(Capability.PROCESSES)
    def test_a_close_that_never_ends_is_ended(self, services: ServiceBase) -> None:
        stubborn = services.register("stubborn", Stubborn, close_timeout=0.5)
        pid = stubborn.pid()
        services.unregister("stubborn")
        assert eventually(lambda: not is_running(pid))
        assert services.list() == []

    def test_it_is_closed_after_the_call_that_runs(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        mark, entered, gate = (tmp_path / name for name in ("mark", "entered", "gate"))
        careful = services.register("careful", Careful, str(mark), close_timeout=30.0)
        working = careful.work.submit(str(entered), str(gate))
        with ThreadPoolExecutor(1) as pool:
            try:
                wait_for_file(str(entered))
                ending = pool.submit(services.unregister, "careful")
                eventually(mark.exists, 0.2)  # it would be there by now if it didn't wait
            finally:
                gate.touch()
            ending.result(30)
        assert mark.read_text() == "idle"
        assert isinstance(working.exception(30), ServiceDiedError | None)

    def test_a_close_that_raises_doesnt_keep_a_service_from_ending(
        self, services: ServiceBase
    ) -> None:
        faulty = services.register("faulty", Faulty)
        services.unregister("faulty")
        assert services.list() == []
        with pytest.raises(ServiceDiedError):
            faulty.pid()
        assert services.register("faulty", Counter).add() == 1

    def test_reset_of_an_empty_namespace_does_nothing(self, services: ServiceBase) -> None:
        services.reset()
        services.reset()
        assert services.list() == []

    def test_the_context_manager_ends_the_services(self, open_registry: OpenRegistry) -> None:
        with open_registry("within") as services:
            services.register("counter", Counter)
        assert open_registry("within").list() == []
        with pytest.raises(RegistryClosedError):
            services.list()

    def test_close_leaves_the_services_running(self, open_registry: OpenRegistry) -> None:
        keeper, services = open_registry("kept"), open_registry("kept")
        services.register("counter", Counter)
        services.close()
        services.close()
        assert keeper["counter"].add() == 1
        with pytest.raises(RegistryClosedError):
            services.get("counter")

    def test_namespaces_dont_see_each_other(self, open_registry: OpenRegistry) -> None:
        training, evaluation = open_registry("training"), open_registry("evaluation")
        training.register("counter", Counter, 10)
        assert evaluation.list() == []
        evaluation.register("counter", Counter, 20)
        assert (training["counter"].add(), evaluation["counter"].add()) == (11, 21)
        evaluation.reset()
        assert training.list() == ["counter"]
