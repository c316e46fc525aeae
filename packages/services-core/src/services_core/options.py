"""Options of a service: what belongs to the backend and what to the class's constructor."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard

from services_core.errors import AmbiguousOptionError, InvalidOptionError

DEFAULT_START_TIMEOUT = 60.0
DEFAULT_CLOSE_TIMEOUT = 5.0

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
        amounts = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "memory": self.memory}
        for name, amount in amounts.items():
            if amount is not None and not (_is_number(amount) and amount >= 0):
                raise InvalidOptionError(name, amount, "a number that is not negative")
        for name, count, least in (
            ("max_concurrency", self.max_concurrency, 1),
            ("max_restarts", self.max_restarts, -1),
            ("replicas", self.replicas, 1),
        ):
            if count is not None and not (_is_int(count) and count >= least):
                raise InvalidOptionError(name, count, f"a whole number from {least}")
        if self.lifetime not in (None, "detached"):
            raise InvalidOptionError("lifetime", self.lifetime, 'None or "detached"')
        check_timeout("start_timeout", self.start_timeout)
        check_timeout("close_timeout", self.close_timeout)


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


def check_timeout(option: str, seconds: object) -> None:
    """Raise `InvalidOptionError` unless `seconds` is a positive number."""
    if not (_is_number(seconds) and seconds > 0):
        raise InvalidOptionError(option, seconds, "a positive number of seconds")


def split_options(
    cls: Callable[..., Any], keywords: Mapping[str, Any], native_options: Collection[str]
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
        raise AmbiguousOptionError(cls if isinstance(cls, type) else type(cls), ambiguous)
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


def _named_parameters(cls: Callable[..., Any]) -> set[str]:
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


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
