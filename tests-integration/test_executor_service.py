"""The executor is a service like any other: registered once, used by every worker."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from workers import cancel_execution, descendants, execute_programs, run_in_worker

from python_executor import PythonExecutorService
from python_executor.errors import PythonExecutorError
from services_core import ServiceBase, ServiceDiedError, ServiceStartError
from services_core.testing.observing import eventually, is_running


def test_any_worker_uses_the_executor_of_another(services: ServiceBase, backend: str) -> None:
    services.register("python_executor", PythonExecutorService, pool_size=4, timeout=10.0)
    programs = ["print('from', 6 * 7)", "1 / 0", "1 + 1"]
    results = run_in_worker(backend, execute_programs, backend, "integration", programs)
    assert [result["status"] for result in results] == ["ok", "error", "ok"]
    assert results[0]["stdout"] == "from 42\n"
    assert results[1]["error"]["type"] == "ZeroDivisionError"
    assert results[2]["value"] == "2"


def test_many_callers_share_a_few_interpreters(services: ServiceBase) -> None:
    executor = services.register(
        "python_executor", PythonExecutorService, pool_size=4, timeout=30.0, max_concurrency=16
    )
    with ThreadPoolExecutor(16) as pool:
        outputs = list(pool.map(lambda n: executor.execute(f"print({n})")["stdout"], range(64)))
    assert outputs == [f"{n}\n" for n in range(64)]
    stats = executor.stats()
    assert stats["pool_size"] == 4
    assert stats["executions"] == 64


def test_any_worker_cancels_what_another_runs(services: ServiceBase, backend: str) -> None:
    executor = services.register(
        "python_executor", PythonExecutorService, pool_size=1, timeout=60.0, max_concurrency=4
    )
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(executor.execute, "while True: pass", execution_id="endless")
        assert run_in_worker(backend, cancel_execution, backend, "integration", "endless")
        result = call.result()
    assert result["status"] in ("cancelled", "rejected")  # it may not have begun
    assert executor.execute("1 + 1")["value"] == "2"
    assert not executor.cancel("endless")


def test_an_executor_that_cant_be_made_fails_its_registration(services: ServiceBase) -> None:
    with pytest.raises(ServiceStartError, match="pool_size"):
        services.register("python_executor", PythonExecutorService, pool_size=0)
    assert services.list() == []


def test_an_error_of_the_pool_arrives_as_its_own_type(services: ServiceBase) -> None:
    executor = services.register("python_executor", PythonExecutorService, pool_size=1)
    with pytest.raises(PythonExecutorError, match="code"):
        executor.execute(42)
    assert executor.execute("1")["success"]


def test_reset_leaves_no_interpreter(services: ServiceBase) -> None:
    executor = services.register("python_executor", PythonExecutorService, pool_size=4)
    server = executor.info()["server"]
    # The slots fork their processes ahead of time, and that may be after the service is there.
    assert eventually(lambda: len(descendants(server)) > 4)
    tree = descendants(server)
    services.reset()
    assert eventually(lambda: not any(map(is_running, tree)))


def test_a_killed_service_leaves_no_interpreter(services: ServiceBase, backend: str) -> None:
    executor = services.register("python_executor", PythonExecutorService, pool_size=4)
    pid = services.describe("python_executor").pid
    assert pid is not None
    tree = descendants(executor.info()["server"])
    if backend == "inline":
        assert pid == os.getpid()  # it can't be killed apart from its user
        return
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ServiceDiedError):
        executor.execute("1")
    assert eventually(lambda: not any(map(is_running, tree)))
    assert services.list() == []
