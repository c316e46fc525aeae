"""The in-process backend keeps what every backend promises, and nothing leaks between its users."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from services_core import (
    HandleForkedError,
    InlineService,
    RegistryClosedError,
    ServiceBase,
    ServiceDiedError,
    ServiceStartError,
    get_services,
    native,
)
from services_core.testing import RegistryConformance
from services_core.testing.conformance import OpenRegistry
from services_core.testing.observing import in_forked_child
from services_core.testing.samples import Caller, Counter, Member


class TestInlineService(RegistryConformance):
    @pytest.fixture
    def open_registry(self) -> Iterator[OpenRegistry]:
        opened: dict[str, ServiceBase] = {}

        def open_one(namespace: str) -> ServiceBase:
            services = get_services(backend="inline", namespace=namespace)
            opened[namespace] = get_services(backend="inline", namespace=namespace)
            return services

        yield open_one
        for services in opened.values():
            services.shutdown()


def test_it_lacks_the_capabilities_of_processes() -> None:
    assert TestInlineService.capabilities == frozenset()


def test_arguments_and_results_go_by_reference() -> None:
    with InlineService("reference") as services:
        box = services.register("box", dict)
        value = object()
        box.setdefault("key", value)
        assert box.get("key") is value


def test_a_service_may_call_another_where_the_users_own_event_loop_runs() -> None:
    async def cell_of_a_notebook() -> int:
        answer: int = caller.ask(other)
        return answer

    with InlineService("notebook") as services:
        caller, other = services.register("caller", Caller), services.register("other", Caller)
        assert asyncio.run(cell_of_a_notebook()) == 42


def test_a_constructor_that_exits_doesnt_end_the_process() -> None:
    class Exits:
        def __init__(self) -> None:
            sys.exit(3)

    with InlineService("exits") as services:
        with pytest.raises(ServiceStartError, match="SystemExit"):
            services.register("exits", Exits)
        assert services.register("exits", Counter).add() == 1


def test_in_a_forked_child_every_use_of_a_handle_is_refused() -> None:
    with InlineService("forked") as services:
        counter = services.register("counter", Counter)
        members = services.register("members", Member, replicas=2)

        def use() -> list[int]:
            uses: list[Any] = [
                counter.add,
                counter.add.submit,
                counter.add.remote,
                counter.upto,
                members.who,
                lambda *_: native(counter),
                lambda *_: asyncio.run(counter.add.aio()),
            ]
            for position, each in enumerate(uses):
                with pytest.raises(HandleForkedError):
                    each(1)
                uses[position] = position
            assert services.list() == []
            return uses

        assert in_forked_child(use) == list(range(7))
        assert counter.add() == 1


def test_a_handle_outlives_its_service_and_says_so_when_it_is_used() -> None:
    with InlineService("outlived") as services:
        handles = [
            services.register("counter", Counter),
            services.register("members", Member, replicas=2),
        ]
        pickled = pickle.dumps(handles)
        services._stop("members")
        counter, members = pickle.loads(pickled)
        assert counter.add() == 1
        key = next(k for k in map(str, range(99)) if members._connection.replica_of(k) == 1)
        assert members.who.options(key=key)()
    counter, members = pickle.loads(pickled)
    assert [counter, members] == handles
    for call in (counter.add, members.who):
        with pytest.raises(ServiceDiedError):
            call()


def test_a_registry_whose_reset_fails_is_closed_nevertheless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: object) -> None:
        raise OSError("out of reach")

    services = InlineService("failing")
    monkeypatch.setattr(services, "_names", fail)
    with pytest.raises(OSError, match="out of reach"):
        services.shutdown()
    with pytest.raises(RegistryClosedError):
        services.list()
