"""Processes are killed, and what is promised holds."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.experimental.internal_kv import _internal_kv_list

from services_core import (
    Handle,
    ServiceBase,
    ServiceDiedError,
    ServiceExistsError,
    ServiceOptions,
    ServiceSpec,
    ServiceStartError,
    get_services,
)
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter, Gated, Server, wait_for_file
from services_ray import actors, records, registry, states
from services_ray.construction import RayConstruction

_NAMESPACE = "faulty"


@pytest.fixture
def services() -> Iterator[ServiceBase]:
    with get_services(backend="ray", namespace=_NAMESPACE) as opened:
        yield opened


@pytest.fixture
def victim() -> Iterator[Any]:
    """A worker with a registry of the same namespace, which may be killed."""
    remote: Any = ray.remote
    actor = remote(num_cpus=0, max_concurrency=4)(_Victim).remote(_NAMESPACE)
    yield actor
    ray.kill(actor)


def test_whoever_waits_for_a_service_learns_of_its_death(
    services: ServiceBase, tmp_path: Path
) -> None:
    never = str(tmp_path / "never")
    stuck = services.register("stuck", _Stuck, num_cpus=0, max_concurrency=8)

    async def listen() -> None:
        async for _ in stuck.stream.aio(never):
            pass

    waits = [
        lambda: stuck.wait(never),
        lambda: stuck.wait.options(timeout=60)(never),
        lambda: stuck.wait.submit(never).result(),
        lambda: asyncio.run(stuck.wait.aio(never)),
        lambda: list(stuck.stream(never)),
        lambda: asyncio.run(listen()),
    ]
    with ThreadPoolExecutor(len(waits)) as pool:
        waiting = [pool.submit(wait) for wait in waits]
        assert eventually(lambda: stuck.inside() == len(waits))
        os.kill(stuck.pid(), signal.SIGKILL)
        for answer in waiting:
            with pytest.raises(ServiceDiedError) as caught:
                answer.result(30)
            assert not caught.value.restarting
    assert services.list() == []
    with pytest.raises(ServiceDiedError):
        stuck.pid()


def test_a_caller_that_is_killed_harms_nobody_else(
    services: ServiceBase, victim: Any, tmp_path: Path
) -> None:
    stuck = services.register("stuck", _Stuck, num_cpus=0, max_concurrency=4)
    never = str(tmp_path / "never")
    calling = [victim.call.remote("stuck", never), victim.read.remote("stuck", never)]
    assert eventually(lambda: stuck.inside() == 2)
    os.kill(ray.get(victim.pid.remote()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(calling[0])
    assert stuck.inside() == 2
    (tmp_path / "never").touch()
    assert eventually(lambda: stuck.inside() == 0)


def test_a_service_outlives_the_worker_that_registered_it(
    services: ServiceBase, victim: Any
) -> None:
    ray.get(victim.register.remote("counter"))
    counter = services["counter"]
    assert counter.add() == 1
    _kill(victim)
    assert counter.add() == 2
    assert services.list() == ["counter"]


def test_a_registrar_that_is_killed_leaves_no_corpse(
    services: ServiceBase, victim: Any, tmp_path: Path
) -> None:
    entered = tmp_path / "entered"
    victim.register_gated.remote("gated", str(tmp_path / "never"), str(entered))
    wait_for_file(str(entered))
    with pytest.raises(ServiceExistsError):
        services.register("gated", Counter, num_cpus=0)
    _kill(victim)
    assert "gated" not in services
    assert services.list() == []
    assert services.register("gated", Counter, num_cpus=0).add() == 1


def test_who_waits_for_a_name_ends_the_corpse_under_it(
    services: ServiceBase, victim: Any, tmp_path: Path
) -> None:
    entered = tmp_path / "entered"
    victim.register_gated.remote("gated", str(tmp_path / "never"), str(entered))
    wait_for_file(str(entered))
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(services.wait_for, "gated", 30)
        registering = pool.submit(services.get_or_register, "gated", Counter, num_cpus=0)
        _kill(victim)
        assert registering.result(30).add() == 1
        assert waiting.result(30).add() == 2


def test_a_registrar_that_dies_between_its_replicas_leaves_none_of_them(
    services: ServiceBase, victim: Any
) -> None:
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(victim.die_while_publishing.remote("members"))
    assert "members" not in services
    assert services.list() == []
    members = services.register("members", Counter, num_cpus=0)
    assert members.add() == 1


def test_where_ray_doesnt_tell_of_a_registrar_its_time_decides(
    services: ServiceBase, victim: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never, entered = str(tmp_path / "never"), [tmp_path / "first", tmp_path / "second"]
    victim.register_gated.remote("overdue", never, str(entered[0]), grace=-60)
    wait_for_file(str(entered[0]))
    victim.register_gated.remote("in-time", never, str(entered[1]))
    wait_for_file(str(entered[1]))
    monkeypatch.setattr(states, "has_lost_its_creator", lambda _actor: None)
    _kill(victim)
    assert services.register("overdue", Counter, num_cpus=0).add() == 1
    with pytest.raises(ServiceExistsError):
        services.register("in-time", Counter, num_cpus=0)


def test_one_of_fifty_registrations_in_five_processes_wins(services: ServiceBase) -> None:
    workers: list[Any] = [ray.remote(num_cpus=0)(_Victim).remote(_NAMESPACE) for _ in range(5)]
    ray.get([worker.pid.remote() for worker in workers])
    at = time.time() + 0.2
    outcomes = ray.get([worker.race.remote("counter", 10, at) for worker in workers])
    assert sorted(outcome for each in outcomes for outcome in each) == ["lost"] * 49 + ["won"]
    assert services["counter"].add() == 1
    for worker in workers:
        ray.kill(worker)


def test_the_client_of_an_owner_is_gone_with_its_process(
    services: ServiceBase, victim: Any
) -> None:
    ray.get(victim.publish.remote("server"))
    assert services.get_client("server") == Server().client()
    _kill(victim)
    assert eventually(lambda: "server" not in services)
    assert services.list() == []


def test_a_service_that_is_ended_before_it_is_published_is_none(services: ServiceBase) -> None:
    spec = ServiceSpec(name="counter", cls=Counter, options=ServiceOptions(num_cpus=0))
    construction = services._start(spec)
    construction.wait()
    assert services.list() == []
    services.reset()
    with pytest.raises(ServiceStartError, match="meanwhile"):
        construction.publish()
    assert services.list() == []
    assert _records("counter") == []


def test_a_service_that_is_published_while_it_is_ended_leaves_no_record(
    services: ServiceBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ServiceSpec(name="counter", cls=Counter, options=ServiceOptions(num_cpus=0))
    construction = services._start(spec)
    construction.wait()
    kill = actors.kill

    def publish_and_kill(*args: Any) -> None:
        construction.publish()
        kill(*args)

    monkeypatch.setattr(actors, "kill", publish_and_kill)
    services.reset()
    assert _records("counter") == []


def test_a_registrar_that_was_overtaken_takes_nothing_from_its_successor(
    services: ServiceBase, victim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = actors.create

    def create_and_be_overtaken(spec: ServiceSpec, ray_namespace: str) -> Any:
        actor = create(spec, ray_namespace)
        services.reset()
        ray.get(victim.register.remote(spec.name))
        return actor

    monkeypatch.setattr(actors, "create", create_and_be_overtaken)
    with pytest.raises(ServiceStartError):
        services.register("counter", Counter, num_cpus=0)
    assert services["counter"].add() == 1


def test_the_dead_leave_no_records(services: ServiceBase) -> None:
    for _ in range(3):
        counter = services.register("counter", Counter, num_cpus=0)
        os.kill(counter.pid(), signal.SIGKILL)
        with pytest.raises(ServiceDiedError):
            counter.add()
    services.register("counter", Counter, num_cpus=0)
    assert len(_records("counter")) == 1
    services.unregister("counter")
    assert _records("counter") == []


def test_constructors_of_replicas_run_at_the_same_time(
    services: ServiceBase, tmp_path: Path
) -> None:
    met = services.register("met", _Meeting, str(tmp_path), num_cpus=0, replicas=2)
    assert isinstance(met, Handle)


def _kill(victim: Any) -> None:
    pid = ray.get(victim.pid.remote())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(victim.pid.remote())


def _records(name: str) -> list[bytes]:
    prefix = records._prefix(_NAMESPACE, name)
    return list(_internal_kv_list(prefix, namespace=records._STORE))


class _Stuck(Gated):
    """Counts who is inside."""

    def __init__(self) -> None:
        super().__init__()
        self._inside = 0
        self._lock = threading.Lock()

    def wait(self, gate: str) -> str:
        self._change(1)
        try:
            return super().wait(gate)
        finally:
            self._change(-1)

    def stream(self, gate: str) -> Iterator[str]:
        yield "first"
        yield self.wait(gate)

    def inside(self) -> int:
        return self._inside

    def pid(self) -> int:
        return os.getpid()

    def _change(self, by: int) -> None:
        with self._lock:
            self._inside += by


class _Meeting:
    """Its constructor waits until that of another replica runs."""

    def __init__(self, folder: str) -> None:
        Path(folder, str(os.getpid())).touch()
        assert eventually(lambda: len(list(Path(folder).iterdir())) == 2)


class _Victim:
    def __init__(self, namespace: str) -> None:
        self._services = get_services(backend="ray", namespace=namespace)

    def pid(self) -> int:
        return os.getpid()

    def register(self, name: str) -> None:
        self._services.register(name, Counter, num_cpus=0)

    def register_gated(self, name: str, gate: str, entered: str, grace: float = 30.0) -> None:
        registry._GRACE_SECONDS = grace
        self._services.register(name, Gated, gate, entered, num_cpus=0)

    def die_while_publishing(self, name: str) -> None:
        publish = RayConstruction.publish
        published: list[RayConstruction] = []

        def publish_or_die(construction: RayConstruction) -> Any:
            if published:
                os.kill(os.getpid(), signal.SIGKILL)
            published.append(construction)
            return publish(construction)

        patched: Any = RayConstruction
        patched.publish = publish_or_die
        self._services.register(name, Counter, num_cpus=0, replicas=2)

    def publish(self, name: str) -> None:
        self._services.register(name, Server().start())

    def call(self, name: str, gate: str) -> None:
        self._services[name].wait(gate)

    def read(self, name: str, gate: str) -> None:
        list(self._services[name].stream(gate))

    def race(self, name: str, count: int, at: float) -> list[str]:
        def register(_: int) -> str:
            time.sleep(max(0.0, at - time.time()))
            try:
                self._services.register(name, Counter, num_cpus=0)
            except ServiceExistsError:
                return "lost"
            return "won"

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(register, range(count)))
