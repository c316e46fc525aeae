"""Replicas are started, found and ended together, whatever else happens meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services_core import (
    Connection,
    Construction,
    InlineService,
    InvalidNameError,
    ServiceBase,
    ServiceExistsError,
    ServiceSpec,
    ServiceStartError,
    ServiceTimeoutError,
)
from services_core.groups import at_once
from services_core.names import replica_name
from services_core.testing.samples import Counter, Member


class Meddled(InlineService):
    """Something happens between the steps of a registration."""

    before_start: Callable[[ServiceSpec], object] | None = None
    before_publish: Callable[[ServiceSpec], object] | None = None

    def _start(self, spec: ServiceSpec) -> Construction:
        if self.before_start is not None:
            self.before_start(spec)
        return MeddledConstruction(super()._start(spec), spec, self)


class MeddledConstruction(Construction):
    def __init__(self, inner: Construction, spec: ServiceSpec, services: Meddled) -> None:
        self._inner, self._spec, self._services = inner, spec, services

    def wait(self) -> None:
        self._inner.wait()

    def publish(self) -> Connection:
        if self._services.before_publish is not None:
            self._services.before_publish(self._spec)
        return self._inner.publish()

    def abandon(self) -> None:
        self._inner.abandon()


@pytest.fixture
def services() -> Iterator[Meddled]:
    with Meddled("groups") as opened:
        yield opened
    assert InlineService("groups")._names(starting=True) == []


@pytest.fixture
def other() -> ServiceBase:
    return InlineService("groups")


def unregister(services: ServiceBase) -> None:
    services.unregister("members")


@pytest.mark.parametrize("end", [ServiceBase.reset, unregister])
@pytest.mark.parametrize(
    ("step", "replica"),
    [("before_start", 1), ("before_start", 2), *(("before_publish", n) for n in range(3))],
)
def test_what_is_ended_while_it_is_registered_leaves_nothing(
    services: Meddled,
    other: ServiceBase,
    step: str,
    replica: int,
    end: Callable[[ServiceBase], None],
) -> None:
    def meddle(spec: ServiceSpec) -> None:
        if spec.name == replica_name("members", replica):
            end(other)

    setattr(services, step, meddle)
    with pytest.raises(ServiceStartError):
        services.register("members", Member, replicas=3)
    assert other._names(starting=True) == []


def test_what_is_ended_before_it_is_constructed_is_never_seen(
    services: Meddled, other: ServiceBase
) -> None:
    seen: list[str] = []

    def end(spec: ServiceSpec) -> None:
        if spec.name == replica_name("members", 1):
            other.reset()

    services.before_start = end
    services.before_publish = lambda _: seen.extend(other.list())
    with pytest.raises(ServiceStartError):
        services.register("members", Member, replicas=3)
    assert seen == []


def test_of_registrations_with_different_replicas_one_wins(services: Meddled) -> None:
    def register(replicas: int) -> int:
        start.wait(30)
        try:
            services.register("members", Member, replicas=replicas)
        except ServiceExistsError:
            return 0
        return replicas

    counts = [1, 2, 3, 4]
    start = threading.Barrier(len(counts))
    with ThreadPoolExecutor(len(counts)) as pool:
        for _ in range(20):
            (won,) = filter(None, pool.map(register, counts))
            assert len(services._names(starting=True)) == won
            services.unregister("members")
            assert services._names(starting=True) == []


def test_a_service_whose_first_replica_is_gone_keeps_its_name(services: Meddled) -> None:
    members = services.register("members", Member, replicas=3)
    assert services._stop("members")
    assert services.list() == ["members"]
    assert "members" in services
    assert services["members"] == members == services.get_or_register("members", Counter)
    assert len(services.describe("members").replicas) == 2
    for replicas in (1, 2):
        with pytest.raises(ServiceExistsError, match="'members'"):
            services.register("members", Member, replicas=replicas)
    services.unregister("members")


def test_its_replicas_have_no_names_that_a_user_could_find(services: Meddled) -> None:
    services.register("members", Member, replicas=2)
    name = replica_name("members", 1)
    assert name not in services
    for look in (services.get, services.describe, services.unregister, services.wait_for):
        with pytest.raises(InvalidNameError):
            look(name)


def test_get_or_register_gives_up_on_what_never_comes(services: Meddled) -> None:
    # Its first replica is gone, and another one still under construction.
    left = services._start(ServiceSpec(name=replica_name("members", 1), cls=Member))
    with pytest.raises(ServiceTimeoutError, match="members"):
        services.get_or_register("members", Member, start_timeout=0.1)
    left.abandon()


def test_each_is_done_once_and_the_error_of_one_keeps_nobody_back() -> None:
    done: list[int] = []

    def act(number: int) -> int:
        done.append(number)
        if number == 1:
            raise ServiceStartError("one", "as you see")  # a RuntimeError, like "no more threads"
        return number

    with pytest.raises(ServiceStartError):
        at_once(act, [0, 1, 2])
    assert sorted(done) == [0, 1, 2]


def test_without_threads_it_is_done_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    assert at_once(lambda number: number + 1, [0, 1, 2]) == [1, 2, 3]
