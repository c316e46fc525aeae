"""Many chat environments share few interpreters, across real workers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from workers import CountingExecutor, play_environments, run_in_worker

from llm_transforms import ChatEnv, PythonInterpreter
from python_executor import PythonExecutorService
from services_core import ServiceBase, ServiceNotFoundError

NAMESPACE = "integration"


def test_128_environments_share_32_interpreters_with_one_call_a_step(
    services: ServiceBase, backend: str
) -> None:
    executor = services.register(
        "python_executor", CountingExecutor, pool_size=32, timeout=30.0, max_concurrency=4
    )
    interpreter = PythonInterpreter(services=backend, namespace=NAMESPACE, timeout=30.0)
    with ChatEnv(batch_size=(128,)).append_transform(interpreter) as env:
        chats = env.reset(["Go."] * 128)
        replies = [f"```python\nprint({n})\n```" if n % 4 else "No code." for n in range(128)]
        for _ in range(3):
            chats = env.step(replies)
        for n, chat in enumerate(chats):
            expected = [f"Code block 1 executed successfully:\n{n}\n"] * 3 if n % 4 else []
            assert [message["content"] for message in chat if message["role"] == "tool"] == expected
    assert list(map(tuple, executor.calls())) == [("execute_batch", 96)] * 3
    stats = executor.stats()
    assert (stats["pool_size"], stats["executions"]) == (32, 288)


def test_an_interpreter_travels_to_other_workers(services: ServiceBase, backend: str) -> None:
    services.register(
        "python_executor", PythonExecutorService, pool_size=4, timeout=30.0, max_concurrency=4
    )
    with PythonInterpreter(services=backend, namespace=NAMESPACE, timeout=30.0) as interpreter:

        def play(rank: int) -> list[str]:
            # A clone for each, as a worker's environment takes it over.
            clone = interpreter.clone()
            try:
                return run_in_worker(backend, play_environments, clone, rank, 8)
            finally:
                clone.close()

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(play, range(2)))
    assert answers == [
        [f"Code block 1 executed successfully:\n{rank} {n}\n" for n in range(8)]
        for rank in range(2)
    ]


def test_every_failure_of_a_program_reaches_the_model(services: ServiceBase) -> None:
    services.register("python_executor", PythonExecutorService, pool_size=4)
    with ChatEnv(4).append_transform(PythonInterpreter(services=services, timeout=1.0)) as env:
        env.reset(["Go."] * 4)
        chats = env.step(
            [
                f"```python\n{program}\n```"
                for program in ("1 / 0", "while True: pass", "import os; os._exit(3)", "'\0'")
            ]
        )
    told = [chat[-1]["content"] for chat in chats]
    assert all(text.startswith("Code block 1 failed:\n") for text in told)
    for text, word in zip(
        told, ("ZeroDivisionError", "TimeoutError", "ProcessCrashedError", "NUL"), strict=True
    ):
        assert word in text


def test_an_interpreter_without_its_service_cannot_be_made(
    services: ServiceBase, backend: str
) -> None:
    with pytest.raises(ServiceNotFoundError, match="python_executor"):
        PythonInterpreter(services=backend, namespace=NAMESPACE)
    assert services.list() == []
