"""The adapter for TorchRL in TorchRL's collectors, in this process and in others."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from torchrl_chats import OURS, Ranks, chats_of_a_rank

from python_executor import PythonExecutorService
from services_core import ServiceBase

COUNT = 64

# Importing them warns of their own weight updaters, in this process.
pytestmark = pytest.mark.filterwarnings("ignore:Creating .* is deprecated:DeprecationWarning")


@pytest.fixture
def executor(services: ServiceBase) -> Any:
    """A service with room for all sessions."""
    return services.register(
        "python_executor",
        PythonExecutorService,
        pool_size=4,
        timeout=60.0,
        max_sessions=2 * COUNT,
        max_concurrency=8,
    )


@pytest.fixture(autouse=True)
def bytecode_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes take what this one has compiled: TorchRL is large."""
    monkeypatch.delenv("PYTHONPYCACHEPREFIX")


def told(batch: Any) -> Any:
    """The last message of each chat after each turn, without its first line."""
    last = batch["next", "history"].prompt[..., -1].content
    return [[each.partition("\n")[2] for each in turns] for turns in last]


def test_a_collector_of_dialogues_plays_turns(executor: Any, services: ServiceBase) -> None:
    from torchrl.collectors.llm import LLMCollector

    env = chats_of_a_rank(4, partial(OURS, services=services, persistent=True, timeout=60.0))
    collector = LLMCollector(env, policy=Ranks(7), dialog_turns_per_batch=8, total_dialog_turns=16)
    batches = [told(batch) for batch in collector]
    assert batches == [[["", f"7 {n}\n"] for n in range(4)]] * 2
    assert executor.stats()["executions"] == 16
    assert executor.list_sessions() == []  # it closed its environment after the last turn
    collector.shutdown()


def test_collectors_in_processes_of_their_own_share_a_service_and_no_names(
    executor: Any, services: ServiceBase, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchrl.collectors import MultiSyncCollector

    if backend == "ray":
        import ray

        # They join this cluster, instead of starting one each.
        monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    make = partial(
        OURS, services=backend, namespace=services.namespace, persistent=True, timeout=60.0
    )
    collector = MultiSyncCollector(
        [partial(chats_of_a_rank, COUNT, make)] * 2,
        policy_factory=[partial(Ranks, rank) for rank in range(2)],
        frames_per_batch=2 * 2 * COUNT,  # two turns of each environment
        total_frames=2 * 2 * COUNT,
        use_buffers=False,
        trust_policy=True,
        cat_results="stack",
    )
    (batch,) = [list(map(told, each.unbind(0))) for each in collector]
    assert batch == [[["", f"{rank} {n}\n"] for n in range(COUNT)] for rank in range(2)]
    assert len(executor.list_sessions()) == 2 * COUNT
    collector.shutdown()
    assert executor.list_sessions() == []
