"""The services that a training job usually shares, and what its workers do with them."""

from __future__ import annotations

import random
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from services_core import ServiceBase, ServiceExistsError, get_services

TEXTS = ["Hello, world", "The quick brown fox jumps over the lazy dog", "def f(x): return x + 1"]


class TokenizerService:
    """A byte-pair tokenizer, trained once and shared by all workers.

    Args:
        vocab_size: How many tokens it may have.
    """

    def __init__(self, vocab_size: int = 300) -> None:
        self._tokenizer = Tokenizer(BPE())
        self._tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
        trainer = BpeTrainer(
            vocab_size=vocab_size,
            show_progress=False,
            initial_alphabet=ByteLevel.alphabet(),
        )
        self._tokenizer.train_from_iterator(TEXTS, trainer)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self._tokenizer.encode(text).ids)

    def vocab_size(self) -> int:
        """How many tokens it has."""
        return int(self._tokenizer.get_vocab_size())


class ReplayBuffer:
    """The newest items that workers have added.

    Args:
        size: How many items are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: list[Any] = []

    def extend(self, items: list[Any]) -> int:
        """Add items; returns how many there are now."""
        self._items = (self._items + items)[-self._size :]
        return len(self._items)

    def sample(self, count: int, *, seed: int) -> list[Any]:
        """A random sample."""
        return random.Random(seed).sample(self._items, min(count, len(self._items)))

    def __len__(self) -> int:
        return len(self._items)

    def size(self) -> int:
        """How many items there are."""
        return len(self)


class Counter:
    """Counts the steps of all workers."""

    def __init__(self) -> None:
        self._steps = 0

    def step(self) -> int:
        """Count one, and return how many there are."""
        self._steps += 1
        return self._steps


class ModelRegistry:
    """The newest weights of each policy."""

    def __init__(self) -> None:
        self._weights: dict[str, tuple[int, Any]] = {}

    def push(self, policy: str, weights: Any) -> int:
        """Replace the weights of a policy; returns their version, from 1."""
        version = self._weights.get(policy, (0, None))[0] + 1
        self._weights[policy] = version, weights
        return version

    def pull(self, policy: str) -> tuple[int, Any]:
        """The version and the weights of a policy.

        Raises:
            KeyError: Nobody has pushed it.
        """
        return self._weights[policy]


def encode_and_add(backend: str, namespace: str, rank: int) -> list[int]:
    """What a worker does: find the tokenizer, encode a text, add it to the buffer."""
    services = get_services(backend=backend, namespace=namespace)
    tokens: list[int] = services["tokenizer"].encode(TEXTS[rank % len(TEXTS)])
    services["buffer"].extend([(rank, tokens)])
    services.close()
    return tokens


def count_steps(backend: str, namespace: str, steps: int) -> list[int]:
    """Count some steps."""
    services = get_services(backend=backend, namespace=namespace)
    counted = [services["counter"].step() for _ in range(steps)]
    services.close()
    return counted


def register_if_missing(backend: str, namespace: str) -> str:
    """Register a tokenizer unless another worker was first; returns which it was."""
    services = get_services(backend=backend, namespace=namespace)
    try:
        if "tokenizer" not in services:
            services.register("tokenizer", TokenizerService, num_cpus=0)
            return "registered"
    except ServiceExistsError:
        return "lost the race"
    finally:
        services.close()
    return "found"


def run_a_job(services: ServiceBase) -> tuple[list[str], list[int], int, tuple[int, Any], int]:
    """The same lines for each backend: register, use, describe, end."""
    services.register("tokenizer", TokenizerService, vocab_size=300, num_cpus=0)
    services.register("buffer", ReplayBuffer, size=10, num_cpus=0, max_concurrency=1)
    models = services.get_or_register("models", ModelRegistry, num_cpus=0)
    names = services.list()
    tokens = services["tokenizer"].encode("Hello, world")
    size = services["buffer"].extend.submit([tokens, tokens[:2]]).result(60)
    models.push("policy", {"w": [1.0, 2.0]})
    models.push("policy", {"w": [3.0, 4.0]})
    return names, tokens, size, models.pull("policy"), len(services)
