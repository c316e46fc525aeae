"""An owner is looked after as long as what it has published stands."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from services_core import InlineService, RegistryClosedError, ServiceDiedError, ServiceOwner
from services_core.inline import InlineConnection
from services_core.owners import OwnerWatch, is_alive
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter, Server


class Older:
    """An owner whose `is_alive` is a method."""

    def __init__(self) -> None:
        self.runs = True

    def is_alive(self) -> bool:
        return self.runs

    def start(self) -> None:
        self.runs = True

    def shutdown(self) -> None:
        self.runs = False

    def client(self) -> str:
        return "http://127.0.0.1"


def watches() -> int:
    return sum(thread.name == "services-owner" for thread in threading.enumerate())


def test_is_alive_is_a_property_or_a_method() -> None:
    for owner in (Older(), Server().start()):
        assert isinstance(owner, ServiceOwner)
        assert is_alive(owner)
        owner.shutdown()
        assert not is_alive(owner)
    assert not isinstance(Counter(), ServiceOwner)


def test_the_very_client_is_found_in_the_same_process() -> None:
    with InlineService("owners") as services:
        assert services.register("older", Older()) is services["older"]


def test_no_thread_stays_when_the_client_is_forgotten() -> None:
    services = InlineService("owners")
    for name in ("first", "second"):
        services.register(name, Older())
    services.unregister("first")
    services.shutdown()
    assert eventually(lambda: watches() == 0)


def test_one_registered_anew_is_not_taken_back_by_the_old_owners_end() -> None:
    with InlineService("owners") as services, InlineService("owners") as other:
        older = Older()
        services.register("name", older)
        other.unregister("name")
        counter = other.register("name", Counter)
        older.shutdown()
        assert eventually(lambda: watches() == 0)
        assert other["name"] == counter


def test_get_or_register_gives_the_client_too() -> None:
    with InlineService("owners") as services:
        client = services.register("older", Older())
        assert services.get_or_register("older", Counter) is client


def test_an_owner_is_registered_by_register_alone() -> None:
    with InlineService("owners") as services:
        server: Any = Server().start()
        others: list[Callable[[], object]] = [
            lambda: services.get_or_register("server", server),
            lambda: services.register_with_options("server", server, actor_options={}),
        ]
        for register in others:
            with pytest.raises(TypeError, match=r"register\(name, owner\)"):
                register()
        services["server"] = server
        assert services["server"] == server.client()


def test_a_client_that_goes_while_it_is_fetched_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with InlineService("owners") as services:
        client = services.register("older", Older())
        gone = iter([ServiceDiedError("older")])
        call: Any = InlineConnection.call

        def fetch(*args: Any) -> Any:
            for error in gone:
                raise error
            return call(*args)

        monkeypatch.setattr(InlineConnection, "call", fetch)
        assert services.wait_for("older") is client


def test_one_that_was_published_anew_is_left_alone() -> None:
    older = Older()
    older.shutdown()
    taken_back = threading.Event()
    looked = threading.Event()

    def still_published() -> bool:
        looked.set()
        return False

    watch = OwnerWatch(older, still_published, taken_back.set)
    assert looked.wait(30)
    watch.end()
    assert eventually(lambda: watches() == 0)
    assert not taken_back.is_set()


def test_a_look_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    older = Older()
    taken_back = threading.Event()
    looks = iter([OSError("out of reach"), None])

    def still_published() -> bool:
        if error := next(looks, None):
            older.shutdown()
            raise error
        return True

    with caplog.at_level(logging.WARNING):
        OwnerWatch(older, still_published, taken_back.set)
        assert taken_back.wait(30)
    assert "out of reach" in caplog.text


def test_nothing_is_looked_after_in_a_registry_that_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def still_published() -> bool:
        raise RegistryClosedError("gone")

    with caplog.at_level(logging.WARNING):
        OwnerWatch(Older(), still_published, pytest.fail)
        assert eventually(lambda: watches() == 0)
    assert not caplog.text
