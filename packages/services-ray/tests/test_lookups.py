"""Lookups on Ray cost no message, and tell the truth all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray

from services_core import ServiceBase, ServiceDiedError, get_services
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter, Gated, wait_for_file
from services_ray import actors, records, states


@pytest.fixture
def services() -> Iterator[ServiceBase]:
    with get_services(backend="ray", namespace="looked-up") as opened:
        yield opened


@pytest.fixture
def worker() -> Iterator[Any]:
    """Another process with a registry of the same namespace."""
    actor: Any = ray.remote(num_cpus=0)(_Worker).remote("looked-up")
    yield actor
    ray.kill(actor)


def test_a_repeated_lookup_sends_no_message(
    services: ServiceBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.register("counter", Counter, num_cpus=0)
    first = services["counter"]
    monkeypatch.setattr(actors, "find", None)
    monkeypatch.setattr(records, "find", None)
    assert services["counter"] == first
    assert "counter" in services
    assert services.list() == ["counter"]


def test_a_worker_that_never_called_a_service_knows_it_too(
    services: ServiceBase, worker: Any
) -> None:
    services.register("counter", Counter, num_cpus=0)
    assert eventually(lambda: ray.get(worker.finds_without_message.remote("counter")))


def test_what_another_worker_ends_and_registers_is_seen(services: ServiceBase, worker: Any) -> None:
    old = services.register("counter", Counter, num_cpus=0)
    assert services["counter"] == old
    ray.get(worker.replace.remote("counter"))
    assert eventually(lambda: "counter" in services and services["counter"] != old)
    assert services["counter"].add() == 101
    assert services.list() == ["counter"]
    with pytest.raises(ServiceDiedError):
        old.add()
    ray.get(worker.end.remote("counter"))
    assert services.list() == []
    assert eventually(lambda: "counter" not in services)
    assert services.register("counter", Counter, num_cpus=0).add() == 1


def test_a_name_that_another_worker_has_freed_can_be_registered_at_once(
    services: ServiceBase, worker: Any
) -> None:
    services.register("counter", Counter, num_cpus=0).add()
    ray.get(worker.end.remote("counter"))
    assert services.register("counter", Counter, num_cpus=0).add() == 1


def test_lookups_do_without_what_is_private_in_ray(
    services: ServiceBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("local_state", "actor_facts", "has_lost_its_creator"):
        monkeypatch.setattr(states, name, lambda _actor: None)
    counter = services.register("counter", Counter, num_cpus=0)
    assert services["counter"] == services["counter"] == counter
    assert services.describe("counter").pid == counter.pid()
    os.kill(counter.pid(), signal.SIGKILL)
    with pytest.raises(ServiceDiedError) as caught:
        counter.add()
    assert not caught.value.restarting
    assert services.list() == []
    assert "counter" not in services


def test_a_service_that_is_restarted_stays_listed_and_is_described_anew(
    services: ServiceBase, tmp_path: Path
) -> None:
    gate, entered = tmp_path / "gate", tmp_path / "entered"
    with ThreadPoolExecutor(1) as pool:
        registering = pool.submit(
            services.register, "gated", Gated, str(gate), str(entered), num_cpus=0, max_restarts=1
        )
        wait_for_file(str(entered))
        starting = services.describe("gated")
        assert (starting.state, starting.restarts) == ("starting", 0)
        gate.touch()
        registering.result(30)
    first = services.describe("gated")
    assert (first.state, first.restarts) == ("running", 0)
    assert first.pid is not None
    assert first.started_at is not None
    gate.unlink()
    entered.unlink()
    os.kill(first.pid, signal.SIGKILL)
    wait_for_file(str(entered))
    assert eventually(lambda: services.describe("gated").state == "restarting")
    assert services.list() == ["gated"]
    assert "gated" in services
    gate.touch()
    assert eventually(lambda: services.describe("gated").state == "running")
    second = services.describe("gated")
    assert second.restarts == 1
    assert second.pid != first.pid
    assert second.node == first.node
    assert second.started_at is not None
    assert second.started_at > first.started_at


class _Worker:
    def __init__(self, namespace: str) -> None:
        self._services = get_services(backend="ray", namespace=namespace)

    def finds_without_message(self, name: str) -> bool:
        assert name in self._services
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(actors, "find", lambda *_: None)
            return name in self._services

    def replace(self, name: str) -> None:
        self._services.unregister(name)
        self._services.register(name, Counter, 100, num_cpus=0)

    def end(self, name: str) -> None:
        self._services.unregister(name)
