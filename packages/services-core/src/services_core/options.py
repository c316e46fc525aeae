"""Options of a service: what belongs to the backend and what to the class's constructor."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from services_core.errors import AmbiguousOptionError, InvalidOptionError

DEFAULT_START_TIMEOUT = 60.0
DEFAULT_CLOSE_TIMEOUT = 5.0

# Some 23 days: poll(2) counts milliseconds in an int, and backends add timeouts up.
_LONGEST_TIMEOUT = 2_000_000

# What the registry sets itself. They reach the constructor like any other keyword.
OWNED_BY_REGISTRY = frozenset({"name", "namespace", "get_if_exists"})


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """What a backend is asked for when it starts a service.

    The named ones are portable: every backend takes them, and documents those that it can't
    enforce. None means the backend's own default.

    Attributes:
        num_cpus: CPUs that the service needs (fractions allowed).
        num_gpus: GPUs that the service needs (fractions allowed).
        memory: Memory that the service needs, in bytes.
        max_concurrency: Calls that may run in the service at the same time.
        max_restarts: How often a service that dies is started again (-1: without end).
        replicas: Number of instances, between which the handle chooses for each call.
        lifetime: "detached" outlives the job; None ends with it, or with its namespace.
        start_timeout: Seconds that construction, resources included, may take.
        close_timeout: Seconds that the service's own `close()` may take before it is killed.
        native: Options of this backend alone.
    """

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: float | None = None
    max_concurrency: int | None = None
    max_restarts: int | None = None
    replicas: int = 1
    lifetime: str | None = None
    start_timeout: float = DEFAULT_START_TIMEOUT
    close_timeout: float = DEFAULT_CLOSE_TIMEOUT
    native: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least, whole in (
            ("num_cpus", 0, False),
            ("num_gpus", 0, False),
            ("memory", 0, False),
            ("max_concurrency", 1, True),
            ("max_restarts", -1, True),
            ("replicas", 1, True),
        ):
            value = getattr(self, name)
            if value is None and name != "replicas":
                continue
            number = _as_number(value)
            if number is None or number < least or (whole and not isinstance(number, int)):
                kind = "whole number" if whole else "number"
                raise InvalidOptionError(name, value, f"a {kind} from {least}")
            object.__setattr__(self, name, number)
        if self.lifetime not in (None, "detached"):
            raise InvalidOptionError("lifetime", self.lifetime, 'None or "detached"')
        for name in ("start_timeout", "close_timeout"):
            object.__setattr__(self, name, check_timeout(name, getattr(self, name)))


PORTABLE_OPTIONS = frozenset(f.name for f in fields(ServiceOptions)) - {"native"}


def chosen_options(options: ServiceOptions) -> dict[str, Any]:
    """The options that differ from their defaults, native ones included, as `describe` shows them.

    Plain values are as they were given; of anything else there is the repr.

    Args:
        options: Options of a service.
    """
    portable = {
        f.name: getattr(options, f.name)
        for f in fields(options)
        if f.name in PORTABLE_OPTIONS and getattr(options, f.name) != f.default
    }
    return {
        name: value if isinstance(value, str | int | float | None) else repr(value)
        for name, value in {**portable, **options.native}.items()
    }


def check_timeout(option: str, seconds: object) -> float:
    """Return `seconds` as a number of Python's own.

    Raises:
        InvalidOptionError: It isn't a positive number, or is more than can be waited for.
    """
    number = _as_number(seconds)
    if number is None or not 0 < number <= _LONGEST_TIMEOUT:
        expected = f"a positive number of seconds, at most {_LONGEST_TIMEOUT}"
        raise InvalidOptionError(option, seconds, expected)
    return number


def split_options(
    cls: type, keywords: Mapping[str, Any], native_options: Collection[str]
) -> tuple[ServiceOptions, dict[str, Any]]:
    """Split the keywords of `register` into options and constructor arguments.

    A keyword that is no option reaches the constructor, which says itself what it doesn't know.

    Args:
        cls: The service's class.
        keywords: All keywords that `register` was given.
        native_options: Names of the options that only this backend knows.

    Returns:
        The options, and the keywords for the constructor.

    Raises:
        AmbiguousOptionError: A keyword is an option and a named parameter of the class.
        InvalidOptionError: An option's value can't be used.
    """
    known = (PORTABLE_OPTIONS | set(native_options)) - OWNED_BY_REGISTRY
    chosen = {key: value for key, value in keywords.items() if key in known}
    ambiguous = chosen.keys() & _named_parameters(cls)
    if ambiguous:
        raise AmbiguousOptionError(cls, ambiguous)
    rest = {key: value for key, value in keywords.items() if key not in known}
    return make_options(chosen, native_options), rest


def make_options(chosen: Mapping[str, Any], native_options: Collection[str]) -> ServiceOptions:
    """Build the options of a service from a mapping that holds options alone.

    Raises:
        InvalidOptionError: A name is no option of this backend, or a value can't be used.
    """
    portable = {key: value for key, value in chosen.items() if key in PORTABLE_OPTIONS}
    native = {key: value for key, value in chosen.items() if key not in PORTABLE_OPTIONS}
    for key, value in native.items():
        if key in OWNED_BY_REGISTRY or key not in native_options:
            listed = ", ".join(sorted(PORTABLE_OPTIONS | set(native_options)))
            raise InvalidOptionError(key, value, f"an option of this backend: {listed}")
    return ServiceOptions(**portable, native=native)


def _named_parameters(cls: type) -> set[str]:
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):  # a class in C without a signature: nothing to compare with
        return set()
    catch_all = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        p.name
        for p in parameters
        if p.kind not in catch_all and p.kind is not inspect.Parameter.POSITIONAL_ONLY
    }


def _as_number(value: object) -> float | None:
    """A number, also one of another library such as numpy, as Python's own; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    number = int(value) if isinstance(value, numbers.Integral) else float(value)
    try:
        return number if math.isfinite(number) else None
    except OverflowError:  # a whole number beyond all floats
        return None
