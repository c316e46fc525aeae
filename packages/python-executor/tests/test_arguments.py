"""Bad input is a clear error of ours, at the door."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from python_executor import (
    Execution,
    FilesTooLargeError,
    InvalidArgumentError,
    InvalidArgumentTypeError,
    PersistentPythonProcess,
    PythonExecutorError,
    PythonExecutorService,
)

BAD_SERVICE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"pool_size": 0}, ValueError, "pool_size must be between 1 and 4096, not 0"),
    ({"pool_size": -1}, ValueError, "pool_size"),
    ({"pool_size": 5000}, ValueError, "pool_size"),
    ({"pool_size": True}, TypeError, "pool_size must be an integer, not True"),
    ({"pool_size": 2.0}, TypeError, "pool_size"),
    ({"pool_size": "2"}, TypeError, "pool_size"),
    ({"timeout": 0}, ValueError, "timeout must be a positive, finite number of seconds, not 0"),
    ({"timeout": -1.0}, ValueError, "timeout"),
    ({"timeout": float("nan")}, ValueError, "timeout"),
    ({"timeout": float("inf")}, ValueError, "timeout"),
    ({"timeout": "1"}, TypeError, "timeout"),
    ({"timeout": None}, TypeError, "timeout"),
    ({"timeout": True}, TypeError, "timeout"),
    ({"max_pending": -1}, ValueError, "max_pending"),
    ({"max_pending": 1.5}, TypeError, "max_pending"),
    ({"max_output": 0}, ValueError, "max_output"),
    ({"max_output": 10, "max_total_output": 9}, ValueError, "max_total_output"),
    ({"max_files": -1}, ValueError, "max_files"),
    ({"preload": "numpy"}, TypeError, "preload"),
    ({"preload": [1]}, TypeError, "preload"),
    ({"preload": ["no module"]}, ValueError, "preload"),
    ({"startup_timeout": 0}, ValueError, "startup_timeout"),
    ({"hash_seed": -1}, ValueError, "hash_seed must be between 0 and 4294967295, not -1"),
    ({"hash_seed": 2**32}, ValueError, "hash_seed"),
    ({"hash_seed": False}, TypeError, "hash_seed must be an integer, not False"),
    ({"hash_seed": "random"}, TypeError, "hash_seed"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD_SERVICE)
def test_a_pool_refuses_bad_arguments(
    arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        PythonExecutorService(**arguments)
    assert isinstance(caught.value, PythonExecutorError)


BAD_EXECUTION: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((None,), {}, TypeError, "code must be a string of Python source, not None"),
    ((b"1",), {}, TypeError, "code"),
    (("a\0b",), {}, ValueError, "NUL"),
    (("1",), {"timeout": 0}, ValueError, "timeout"),
    (("1",), {"timeout": float("nan")}, ValueError, "timeout"),
    (("1",), {"timeout": "soon"}, TypeError, "timeout"),
    (("1",), {"stdin": b"x"}, TypeError, "stdin"),
    (("1",), {"seed": -1}, ValueError, "seed must be between 0 and 4294967295, not -1"),
    (("1",), {"seed": 2**32}, ValueError, "seed"),
    (("1",), {"seed": True}, TypeError, "seed must be an integer, not True"),
    (("1",), {"seed": 1.0}, TypeError, "seed"),
    (("1",), {"seed": "1"}, TypeError, "seed"),
    (("1",), {"stdin": "\ud800"}, ValueError, "UTF-8"),
    (("1",), {"files": [("a", b"")]}, TypeError, "files must be a mapping of names to bytes"),
    (("1",), {"files": "a"}, TypeError, "files"),
    (("1",), {"files": {b"a": b""}}, TypeError, "files must be named by strings"),
    (("1",), {"files": {"a": "text"}}, TypeError, "files must be bytes for each name; for 'a'"),
    (("1",), {"files": {"a": None}}, TypeError, "files"),
    (("1",), {"files": {"/etc/passwd": b""}}, ValueError, "'/etc/passwd' is absolute"),
    (("1",), {"files": {"../a": b""}}, ValueError, "'../a' holds '..'"),
    (("1",), {"files": {"a/../b": b""}}, ValueError, "holds '..'"),
    (("1",), {"files": {"..": b""}}, ValueError, "holds '..'"),
    (("1",), {"files": {"": b""}}, ValueError, "is empty"),
    (("1",), {"files": {"a//b": b""}}, ValueError, "holds an empty part or '.'"),
    (("1",), {"files": {"a/": b""}}, ValueError, "holds an empty part or '.'"),
    (("1",), {"files": {"./a": b""}}, ValueError, "holds an empty part or '.'"),
    (("1",), {"files": {".": b""}}, ValueError, "holds an empty part or '.'"),
    (("1",), {"files": {"a\0": b""}}, ValueError, "holds a NUL"),
    (("1",), {"files": {"\udcff": b""}}, ValueError, "UTF-8"),
    (("1",), {"files": {"ü" * 128: b""}}, ValueError, "has a part longer than 255 bytes"),
    (("1",), {"files": {"d/" * 512 + "a": b""}}, ValueError, "is longer than 1024 bytes"),
    (("1",), {"files": {"a": b"", "a/b": b""}}, ValueError, "'a' is also the directory of 'a/b'"),
    (("1",), {"files": {"a/b/c": b"", "a-": b"", "a": b""}}, ValueError, "is also the directory"),
]


@pytest.mark.parametrize(("arguments", "keywords", "kind", "message"), BAD_EXECUTION)
def test_an_execution_refuses_bad_arguments(
    executor: PythonExecutorService,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    for call in (executor.execute, Execution):
        with pytest.raises(kind, match=message) as caught:
            call(*arguments, **keywords)
        assert isinstance(caught.value, PythonExecutorError)
    assert executor.execute("1")["success"]


def test_files_that_are_too_many_or_too_large_are_refused(
    executor: PythonExecutorService,
) -> None:
    before = executor.stats()["executions"]
    large = bytes(32 * 1024 * 1024)
    with pytest.raises(FilesTooLargeError, match="not 3 of 67108865 bytes") as caught:
        executor.execute("1", files={"a": large, "b": large, "c": b"x"})
    assert (caught.value.count, caught.value.total) == (3, len(large) * 2 + 1)
    with pytest.raises(FilesTooLargeError, match="at most 10000 files"):
        Execution("1", files=dict.fromkeys(map(str, range(10_001)), b""))
    assert executor.stats()["executions"] == before


@pytest.mark.parametrize("bad", ["print(1)", None, [1], [None], {"a"}, 3])
def test_a_batch_refuses_what_is_no_program(executor: PythonExecutorService, bad: Any) -> None:
    before = executor.stats()["executions"]
    with pytest.raises(TypeError, match="executions must be"):
        executor.execute_batch(bad)
    with pytest.raises(ValueError, match="NUL"):
        executor.execute_batch(["1", "\0"])
    assert executor.stats()["executions"] == before


def test_a_program_that_is_too_long_is_refused(
    executor: PythonExecutorService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("python_executor._arguments.TEXT_LIMIT", 10)
    with pytest.raises(InvalidArgumentError, match="at most 10 characters"):
        executor.execute("x" * 11)


def test_a_persistent_process_refuses_bad_arguments() -> None:
    with pytest.raises(InvalidArgumentError, match="timeout"):
        PersistentPythonProcess(timeout=0)
    with PersistentPythonProcess() as process, pytest.raises(InvalidArgumentTypeError):
        process.execute(1)  # type: ignore[arg-type]


def test_an_execution_is_frozen_and_pickles() -> None:
    files = {"a": b"x"}
    execution = Execution("1", 2.0, "x", files)
    files["b"] = b"y"
    assert execution.files == {"a": b"x"}
    assert pickle.loads(pickle.dumps(execution)) == execution
    assert hash(execution) == hash(Execution("1", 2.0, "x", {"a": b"x"}))
    assert execution != Execution("1", 2.0, "x", {"a": b"y"})
    with pytest.raises(AttributeError):
        execution.code = "2"  # type: ignore[misc]
