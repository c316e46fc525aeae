"""What a training job does with its services, the same on every backend."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from services_of_a_job import (
    TEXTS,
    Counter,
    ModelRegistry,
    ReplayBuffer,
    TokenizerService,
    count_steps,
    encode_and_add,
    register_if_missing,
    run_a_job,
)
from workers import run_in_worker

from services_core import InlineService, ServiceBase, get_services

NAMESPACE = "integration"


def test_workers_share_a_tokenizer_and_a_replay_buffer(services: ServiceBase, backend: str) -> None:
    services.register("tokenizer", TokenizerService, num_cpus=0)
    services.register("buffer", ReplayBuffer, size=100, num_cpus=0)
    with ThreadPoolExecutor(3) as pool:
        encoded = list(
            pool.map(
                lambda rank: run_in_worker(backend, encode_and_add, backend, NAMESPACE, rank),
                range(3),
            )
        )
    assert encoded == [services["tokenizer"].encode(text) for text in TEXTS]
    assert services["buffer"].size() == 3
    sample = services["buffer"].sample(3, seed=0)
    assert sorted(sample) == [(rank, tokens) for rank, tokens in enumerate(encoded)]


def test_a_stateful_service_keeps_one_state_for_all_workers(
    services: ServiceBase, backend: str
) -> None:
    services["counter"] = Counter
    with ThreadPoolExecutor(2) as pool:
        counted = list(
            pool.map(
                lambda _: run_in_worker(backend, count_steps, backend, NAMESPACE, 20), range(2)
            )
        )
    assert sorted(counted[0] + counted[1]) == list(range(1, 41))
    assert services["counter"].step() == 41


def test_of_workers_that_register_what_is_missing_one_does(
    services: ServiceBase, backend: str
) -> None:
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(
            pool.map(
                lambda _: run_in_worker(backend, register_if_missing, backend, NAMESPACE), range(3)
            )
        )
    assert outcomes.count("registered") == 1
    assert services.list() == ["tokenizer"]
    assert register_if_missing(backend, NAMESPACE) == "found"
    assert services["tokenizer"].vocab_size() == 300


def test_a_job_has_several_services(services: ServiceBase) -> None:
    services.register("tokenizer", TokenizerService, num_cpus=0)
    services.register("buffer", ReplayBuffer, size=5, num_cpus=0)
    models = services.register("models", ModelRegistry, num_cpus=0)
    assert services.list() == ["buffer", "models", "tokenizer"]
    assert models.push("policy", [1.0]) == 1
    with pytest.raises(KeyError, match="critic"):
        models.pull("critic")
    classes = {name: services.describe(name).class_name for name in services}
    assert classes["models"].endswith("ModelRegistry")
    del services["buffer"]
    assert services.list() == ["models", "tokenizer"]


def test_training_and_evaluation_have_namespaces_of_their_own(backend: str) -> None:
    with (
        get_services(backend=backend, namespace="usual-training") as training,
        get_services(backend=backend, namespace="usual-evaluation") as evaluation,
    ):
        training.register("buffer", ReplayBuffer, size=5, num_cpus=0)
        evaluation.register("buffer", ReplayBuffer, size=50, num_cpus=0)
        training["buffer"].extend(list(range(20)))
        evaluation["buffer"].extend(list(range(20)))
        assert training["buffer"].size() == 5
        evaluation.reset()
        assert evaluation.list() == []
        assert training.list() == ["buffer"]
        assert training["buffer"].size() == 5


def test_the_same_lines_do_the_same_on_each_backend(services: ServiceBase) -> None:
    with InlineService("usual-inline") as inline:
        assert run_a_job(services) == run_a_job(inline)
