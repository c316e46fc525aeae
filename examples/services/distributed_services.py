"""Share a tokenizer and a replay buffer between the workers of a job, on any backend.

    python examples/services/distributed_services.py --backend local

The driver trains a real tokenizer on the repository's Markdown files and registers it, with a
replay buffer, in the namespace "training". Workers that know nothing but the backend and the
namespace (threads on `inline`, processes on `local`, tasks on `ray`) find both, encode a share of
the texts and fill the buffer. A namespace "evaluation" beside it has a buffer of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from services_core import ServiceBase, get_services

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINING, EVALUATION = "example-training", "example-evaluation"


class TokenizerService:
    """A byte-pair tokenizer, trained once and shared by all workers.

    Args:
        texts: What it is trained on.
        vocab_size: How many tokens it may have.
    """

    def __init__(self, texts: list[str], *, vocab_size: int) -> None:
        self._tokenizer = Tokenizer(BPE())
        self._tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
        trainer = BpeTrainer(vocab_size=vocab_size, show_progress=False)
        self._tokenizer.train_from_iterator(texts, trainer)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]

    def vocab_size(self) -> int:
        """How many tokens it has."""
        return int(self._tokenizer.get_vocab_size())


class ReplayBuffer:
    """The newest items that workers have added.

    Args:
        capacity: How many items are kept.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: list[tuple[int, list[int]]] = []

    def extend(self, worker: int, sequences: list[list[int]]) -> int:
        """Add sequences of a worker; returns how many items there are now."""
        added = [(worker, sequence) for sequence in sequences]
        self._items = (self._items + added)[-self._capacity :]
        return len(self._items)

    def sample(self, count: int, *, seed: int) -> list[tuple[int, list[int]]]:
        """A random sample: (worker, token ids)."""
        return random.Random(seed).sample(self._items, min(count, len(self._items)))  # noqa: S311

    def size(self) -> int:
        """How many items there are."""
        return len(self._items)


def work(backend: str, worker: int, texts: list[str]) -> tuple[int, int, int]:
    """What one worker does: find the services, encode its texts, add them to the buffer.

    Returns:
        Its process id, how many texts it encoded, how many tokens they have.
    """
    services = get_services(backend=backend, namespace=TRAINING)
    tokenizer = services.wait_for("tokenizer", timeout=30)
    buffer = services.get_or_register("buffer", ReplayBuffer, capacity=10_000, num_cpus=0)
    sequences = tokenizer.encode_batch(texts)
    buffer.extend(worker, sequences)
    services.close()
    return os.getpid(), len(texts), sum(map(len, sequences))


@contextmanager
def open_workers(backend: str, count: int) -> Iterator[Callable[..., Any]]:
    """A function that starts `work` in a worker of this backend and returns a future."""
    if backend == "ray":
        import ray

        task = ray.remote(num_cpus=0)(work)
        yield lambda *arguments: task.remote(*arguments).future()
        return
    pool: Executor = (
        ThreadPoolExecutor(count)
        if backend == "inline"
        else ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    )
    with pool:
        yield lambda *arguments: pool.submit(work, *arguments)


def read_texts() -> list[str]:
    """The paragraphs of the repository's Markdown files."""
    skipped = {".nox", ".venv", "_build", "dist"}
    pages = [
        page
        for page in sorted(REPOSITORY.rglob("*.md"))
        if not skipped.intersection(page.relative_to(REPOSITORY).parts)
    ]
    paragraphs = [text for page in pages for text in page.read_text("utf-8").split("\n\n")]
    return [text.strip() for text in paragraphs if text.strip()]


def show_services(console: Console, registries: list[ServiceBase]) -> None:
    """Print which services there are, and where they run."""
    table = Table(title="Services")
    for column in ("namespace", "name", "class", "process"):
        table.add_column(column)
    for services in registries:
        for name in services:
            info = services.describe(name)
            process = "this one" if info.pid == os.getpid() else str(info.pid)
            cls = info.class_name.rpartition(".")[2]
            table.add_row(info.namespace, name, cls, process)
    console.print(table)


def run(backend: str, workers: int) -> None:
    """Play the example."""
    console = Console()
    texts = read_texts()
    training = get_services(backend=backend, namespace=TRAINING)
    evaluation = get_services(backend=backend, namespace=EVALUATION)
    with training, evaluation:
        with console.status(f"Training a tokenizer on {len(texts)} paragraphs ..."):
            tokenizer = training.register(
                "tokenizer", TokenizerService, texts, vocab_size=2000, num_cpus=0, max_concurrency=4
            )
        evaluation.register("buffer", ReplayBuffer, capacity=100, num_cpus=0)
        with open_workers(backend, workers) as start:
            shares = [texts[worker::workers] for worker in range(workers)]
            futures = [start(backend, worker, share) for worker, share in enumerate(shares)]
            with console.status(f"{workers} workers encode ..."):
                results = [future.result() for future in futures]

        show_services(console, [training, evaluation])
        table = Table(title=f"Workers on {backend!r}")
        for column in ("worker", "process", "texts", "tokens"):
            table.add_column(column, justify="right")
        for worker, (pid, count, tokens) in enumerate(results):
            process = "this one" if pid == os.getpid() else str(pid)
            table.add_row(str(worker), process, str(count), f"{tokens:,}")
        console.print(table)

        buffer = training["buffer"]
        sample = buffer.sample(200, seed=0)
        console.print(
            f"{tokenizer.vocab_size():,} tokens; {buffer.size()} of {len(texts)} sequences in the "
            f"training buffer, a sample of {len(sample)} came from "
            f"{len({worker for worker, _ in sample})} workers; "
            f"{evaluation['buffer'].size()} in the evaluation buffer."
        )


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and play the example."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backend", default="local", help='"inline", "local" (the default), "ray" or another'
    )
    parser.add_argument("--workers", type=int, default=4, help="how many workers (default: 4)")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error("--workers: at least 1")
    run(options.backend, options.workers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
