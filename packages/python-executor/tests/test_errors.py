"""Errors carry their data, and pickle."""

from __future__ import annotations

import pickle

import pytest

from python_executor import (
    ExecutionExistsError,
    FileNameError,
    FilesTooLargeError,
    ForkServerError,
    InvalidArgumentError,
    InvalidArgumentTypeError,
    PoolClosedError,
    PoolForkedError,
    PoolSaturatedError,
    PythonExecutorError,
)

ERRORS = [
    InvalidArgumentError("timeout", -1, "positive"),
    InvalidArgumentTypeError("code", 3, "a string"),
    FileNameError("../x", "holds '..'"),
    FilesTooLargeError(2, 100, 1, 10),
    PoolClosedError(),
    PoolForkedError(12),
    PoolSaturatedError(3, 2, 1),
    ExecutionExistsError("x"),
    ForkServerError("it fell over"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: PythonExecutorError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert len(str(error)) > 20


def test_a_long_value_is_not_shown_whole() -> None:
    assert len(str(InvalidArgumentError("code", "x" * 10_000, "shorter"))) < 200
