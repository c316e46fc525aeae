"""Handles and their methods are small values that can be passed on."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from services_core import Handle, InlineService, InvalidOptionError
from services_core.connections import public_methods
from services_core.testing.samples import Counter


@pytest.fixture
def counter() -> Iterator[Handle]:
    with InlineService("handles") as services:
        yield services.register("counter", Counter)


def test_a_method_pickles_with_its_options(counter: Handle) -> None:
    add = pickle.loads(pickle.dumps(counter.add.options(timeout=30)))
    assert add(2) == 2
    assert add._options == counter.add.options(timeout=30)._options


def test_options_of_a_call_add_up(counter: Handle) -> None:
    add = counter.add.options(timeout=30, colour="red", size=1).options(key="env-1", size=2)
    assert (add._options.timeout, add._options.key) == (30, "env-1")
    assert add._options.native == {"colour": "red", "size": 2}
    assert counter.add._options.timeout is None


@pytest.mark.parametrize("timeout", [0, -1, True, "soon", float("inf"), 3e6])
def test_a_timeout_that_makes_no_sense_is_refused(counter: Handle, timeout: float) -> None:
    with pytest.raises(InvalidOptionError, match="timeout"):
        counter.add.options(timeout=timeout)


def test_an_attribute_that_the_class_itself_doesnt_have_is_no_method() -> None:
    class Shy:
        def __get__(self, instance: object, owner: type) -> object:
            if instance is None:
                raise AttributeError("only instances have it")
            return lambda: 1

    class Service:
        shy = Shy()

        def open(self) -> None: ...

    assert public_methods(Service) == {"open": "call"}
