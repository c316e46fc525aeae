"""An owner is looked after as long as what it has published stands."""

from __future__ import annotations

import logging
import threading

import pytest

from services_core import InlineService, ServiceOwner
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
