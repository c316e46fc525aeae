"""Keywords are split into options and constructor arguments."""

from __future__ import annotations

import numbers
from fractions import Fraction
from typing import Any

import pytest

from services_core import AmbiguousOptionError, InvalidOptionError, ServiceOptions
from services_core.options import chosen_options, make_options, split_options


class Plain:
    def __init__(self, size: int, *, memory: int = 0) -> None: ...


class Open:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...


def test_options_and_arguments_are_told_apart() -> None:
    options, arguments = split_options(
        Open, {"num_cpus": 2, "resources": {"a": 1}, "size": 3}, {"resources"}
    )
    assert options == ServiceOptions(num_cpus=2, native={"resources": {"a": 1}})
    assert arguments == {"size": 3}


def test_another_backends_option_reaches_the_constructor() -> None:
    assert split_options(Open, {"resources": 1}, frozenset())[1] == {"resources": 1}


def test_a_named_parameter_that_is_an_option_is_ambiguous() -> None:
    with pytest.raises(AmbiguousOptionError, match="memory"):
        split_options(Plain, {"memory": 3}, frozenset())


@pytest.mark.parametrize("name", ["name", "namespace", "get_if_exists"])
def test_what_the_registry_owns_is_no_option(name: str) -> None:
    assert split_options(Open, {name: 1}, {name})[1] == {name: 1}
    with pytest.raises(InvalidOptionError, match=name):
        make_options({name: 1}, {name})


def test_a_class_without_a_signature_has_no_parameters_to_mix_up() -> None:
    assert split_options(dict, {"num_cpus": 1}, frozenset())[0].num_cpus == 1


def test_only_what_was_chosen_is_described() -> None:
    options = make_options({"num_cpus": 2, "colour": "red"}, {"colour"})
    assert chosen_options(options) == {"num_cpus": 2, "colour": "red"}
    assert chosen_options(ServiceOptions()) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_cpus", True),
        ("num_cpus", 10**400),
        ("num_cpus", "2"),
        ("num_cpus", 1j),
        ("num_gpus", float("inf")),
        ("memory", -1),
        ("max_concurrency", 1.5),
        ("max_restarts", -2),
        ("replicas", 0),
        ("replicas", None),
        ("lifetime", "short"),
        ("start_timeout", None),
        ("start_timeout", True),
        ("start_timeout", 3e6),
        ("start_timeout", 10**400),
        ("close_timeout", -1.0),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_value_that_makes_no_sense_names_its_option(name: str, value: object) -> None:
    with pytest.raises(InvalidOptionError, match=name) as caught:
        make_options({name: value}, frozenset())
    assert caught.value.value is value


def test_numbers_of_other_libraries_are_taken_and_become_pythons_own() -> None:
    options = make_options(
        {
            "num_cpus": Fraction(1, 2),
            "memory": Whole(3),
            "max_concurrency": Whole(4),
            "start_timeout": Fraction(3, 2),
        },
        frozenset(),
    )
    chosen = chosen_options(options)
    assert chosen == {"num_cpus": 0.5, "memory": 3, "max_concurrency": 4, "start_timeout": 1.5}
    assert {type(value) for value in chosen.values()} == {int, float}


@numbers.Integral.register
class Whole:
    """A whole number as numpy's are: registered as one, and no `int`."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value
