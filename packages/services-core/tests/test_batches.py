"""A batch is split by key, every replica can be called, and no result is lost or misplaced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services_core import (
    BlockingCallError,
    InlineService,
    ServiceDiedError,
    ServiceTimeoutError,
    call_by_key,
    call_each_replica,
    group_by_replica,
)
from services_core.replicas import ReplicatedConnection

KEYS = [f"env-{number}" for number in range(20)]


class Squares:
    """Squares numbers, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def squares(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        if 13 in numbers:
            raise ValueError("unlucky")
        return [number**2 for number in numbers]

    def seen(self) -> list[list[int]]:
        return self.batches

    def stream(self) -> Iterator[int]:
        yield 1


@pytest.fixture
def services() -> Iterator[InlineService]:
    with InlineService("batches") as opened:
        yield opened


def test_each_replica_gets_one_call_with_its_items_in_order(services: InlineService) -> None:
    squares = services.register("squares", Squares, replicas=3)
    assert call_by_key(squares.squares, range(10), KEYS[:10]) == [n**2 for n in range(10)]
    batches = call_each_replica(squares.seen)
    assert [len(each) for each in batches] == [1, 1, 1]
    items = [each[0] for each in batches]
    assert items == [sorted(each) for each in items]
    assert sorted(number for each in items for number in each) == [*range(10)]


@pytest.mark.parametrize("replicas", [1, 3])
def test_an_error_of_one_call_is_raised_or_stands_in_its_places(
    services: InlineService, replicas: int
) -> None:
    squares = services.register("squares", Squares, replicas=replicas)
    with pytest.raises(ValueError, match="unlucky"):
        call_by_key(squares.squares, range(20), KEYS)
    # The others were called all the same.
    assert sum(len(batch) for each in call_each_replica(squares.seen) for batch in each) == 20
    results = call_by_key(squares.squares, range(20), KEYS, return_exceptions=True)
    failed = {number for number, result in enumerate(results) if isinstance(result, ValueError)}
    (unlucky,) = (b for each in call_each_replica(squares.seen) for b in each[1:] if 13 in b)
    assert failed == set(unlucky)
    assert all(results[n] == n**2 for n in range(20) if n not in failed)


def test_a_batch_finds_out_which_replica_died(services: InlineService) -> None:
    squares = services.register("squares", Squares, replicas=3)
    assert services._stop("squares#replica-1")
    results = call_by_key(squares.squares, range(10), KEYS[:10], return_exceptions=True)
    died = [result for result in results if isinstance(result, ServiceDiedError)]
    assert 0 < len(died) < 10
    assert call_by_key(squares.squares, range(10), KEYS[:10]) == [n**2 for n in range(10)]
    assert len(call_each_replica(squares.seen)) == 2


def test_items_of_a_replica_that_dies_meanwhile_go_nowhere_else(services: InlineService) -> None:
    squares = services.register("squares", Squares, replicas=3)
    (doomed,) = (g for g in group_by_replica(squares, KEYS) if 0 in g.positions)

    meddled: list[bool] = []

    class Meddling(list[int]):
        """Another thread finds a replica dead, after the batch was split."""

        def __getitem__(self, index: Any) -> Any:
            if not meddled:
                meddled.append(True)
                router = squares._connection
                assert isinstance(router, ReplicatedConnection)
                home = router.replica_of(KEYS[0])
                services._stop(f"squares#replica-{home}" if home else "squares")
                with pytest.raises(ServiceDiedError):
                    squares.seen.options(key=KEYS[0])()
                assert router.replica_of(KEYS[0]) != home
            return super().__getitem__(index)

    items = [number if number != 13 else 0 for number in range(20)]
    results = call_by_key(squares.squares, Meddling(items), KEYS, return_exceptions=True)
    died = [n for n, result in enumerate(results) if isinstance(result, ServiceDiedError)]
    assert died == doomed.positions


def test_a_call_of_each_finds_out_which_replica_died(services: InlineService) -> None:
    squares = services.register("squares", Squares, replicas=3)
    assert services._stop("squares#replica-2")
    with pytest.raises(ServiceDiedError):
        call_each_replica(squares.squares, [1])
    # The others were called all the same.
    assert call_each_replica(squares.seen) == [[[1]], [[1]]]


def test_when_all_replicas_died_the_service_did(services: InlineService) -> None:
    squares = services.register("squares", Squares, replicas=2)
    services.reset()
    for _ in range(2):
        with pytest.raises(ServiceDiedError):
            call_each_replica(squares.seen)
    with pytest.raises(ServiceDiedError, match="all its 2 replicas"):
        call_by_key(squares.squares, [1], ["a"], return_exceptions=True)


def test_a_timeout_is_that_of_all_calls(services: InlineService) -> None:
    gate = threading.Event()

    class Slow:
        def wait(self, items: list[Any]) -> list[Any]:
            assert gate.wait(30)
            return items

    slow = services.register("slow", Slow, replicas=2)
    try:
        with pytest.raises(ServiceTimeoutError, match=r"wait\(\) took longer than 0.05 s"):
            call_by_key(slow.wait.options(timeout=0.05), KEYS, KEYS)
        results = call_by_key(slow.wait.options(timeout=0.05), KEYS, KEYS, return_exceptions=True)
        assert {type(result) for result in results} == {ServiceTimeoutError}
    finally:
        gate.set()
    assert call_by_key(slow.wait.options(timeout=30), KEYS, KEYS) == KEYS


def test_every_item_has_a_key_and_every_call_one_value(services: InlineService) -> None:
    squares = services.register("squares", Squares, replicas=2)
    with pytest.raises(ValueError, match="2 items have 1 keys"):
        call_by_key(squares.squares, [1, 2], ["a"])
    with pytest.raises(TypeError, match="generator"):
        call_each_replica(squares.stream)


def test_a_replica_that_would_wait_for_itself_is_told(services: InlineService) -> None:
    class Narcissus:
        def look(self) -> Any:
            return call_each_replica(services["narcissus"].look)

    narcissus = services.register("narcissus", Narcissus, replicas=2)
    with pytest.raises(BlockingCallError, match="look"):
        narcissus.look()
