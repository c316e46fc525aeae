"""Errors carry their facts, pickle with them, and are what callers already catch."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import pytest

from services_core import (
    AmbiguousOptionError,
    BackendLoadError,
    BackendNotInstalledError,
    BlockingCallError,
    HandleForkedError,
    InvalidNameError,
    InvalidOptionError,
    NotAClientError,
    RegistryClosedError,
    RemoteError,
    ServiceDiedError,
    ServiceError,
    ServiceExistsError,
    ServiceNotFoundError,
    ServiceStartError,
    ServiceTimeoutError,
    UnknownBackendError,
)
from services_core.remote_errors import PackedError, pack_error, unpack_error

ERRORS = [
    (InvalidNameError("namespace", ""), ValueError),
    (InvalidOptionError("timeout", -1, "a positive number"), ValueError),
    (AmbiguousOptionError(dict, ["b", "a"]), TypeError),
    (ServiceExistsError("name", "space"), ValueError),
    (ServiceNotFoundError("name", "space", ["other"]), KeyError),
    (ServiceStartError("name", "no room", "Traceback ..."), RuntimeError),
    (ServiceDiedError("name", "killed", restarting=True), ConnectionError),
    (ServiceTimeoutError("name", "encode()", 0.5), TimeoutError),
    (BlockingCallError("name", "encode", "it would wait for itself"), RuntimeError),
    (HandleForkedError("name", "ray"), RuntimeError),
    (NotAClientError("name", "space"), TypeError),
    (RemoteError("some.Error", "text", "Traceback ..."), RuntimeError),
    (RegistryClosedError("space"), RuntimeError),
    (UnknownBackendError("x", ["inline"]), ValueError),
    (BackendNotInstalledError("ray", "services-ray"), ImportError),
    (BackendLoadError("ray", "services-ray", "services_ray:RayService", "no ray"), ImportError),
]


@pytest.mark.parametrize(("error", "base"), ERRORS, ids=lambda e: getattr(e, "__name__", None))
def test_an_error_is_a_standard_one_and_survives_pickling(
    error: ServiceError, base: type[BaseException]
) -> None:
    assert isinstance(error, base)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_every_error_is_tested() -> None:
    own = {cls for cls in ServiceError.__subclasses__() if cls.__module__ == "services_core.errors"}
    assert {type(error) for error, _ in ERRORS} == own


def test_the_message_of_an_unknown_service_reads_as_text() -> None:
    assert str(ServiceNotFoundError("a", "b", [])).startswith("no service 'a'")


def test_an_exception_travels_with_its_traceback() -> None:
    def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError) as caught:
        fail()
    arrived = unpack_error(pack_error(caught.value))
    assert type(arrived) is LookupError
    assert 'raise LookupError("gone")' in str(arrived.__cause__)


@dataclass(frozen=True)
class _FrozenError(Exception):
    """One whose attributes can't be set."""


def test_one_that_is_frozen_gets_its_traceback_too() -> None:
    arrived = unpack_error(pack_error(_FrozenError()))
    assert type(arrived) is _FrozenError
    assert "_FrozenError" in str(arrived.__cause__)


def test_notes_groups_and_causes_arrive() -> None:
    noted = ValueError("one")
    noted.add_note("seen in step 7")
    noted.__cause__ = _MuteError()  # which can't be pickled
    arrived = unpack_error(pack_error(ExceptionGroup("both", [noted, KeyError("two")])))
    assert isinstance(arrived, ExceptionGroup)
    assert [type(error) for error in arrived.exceptions] == [ValueError, KeyError]
    assert arrived.exceptions[0].__notes__ == ["seen in step 7"]
    assert "_MuteError" in str(arrived.__cause__)


class _NeedsTwoError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


def test_one_that_cant_be_rebuilt_arrives_as_a_remote_error() -> None:
    arrived = unpack_error(pack_error(_NeedsTwoError(1, 2)))
    assert isinstance(arrived, RemoteError)
    assert arrived.type_name.endswith("_NeedsTwoError")
    assert arrived.remote_message == "1"


def test_what_is_no_exception_when_rebuilt_arrives_as_a_remote_error() -> None:
    forged = PackedError(pickle.dumps("not an exception"), "some.Error", "text", "Traceback")
    assert isinstance(unpack_error(forged), RemoteError)


class _MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    def __reduce__(self) -> str:
        raise ValueError("no pickle")


def test_one_that_fails_at_everything_still_arrives() -> None:
    arrived = unpack_error(pack_error(_MuteError()))
    assert isinstance(arrived, RemoteError)
    assert "_MuteError" in arrived.remote_message
