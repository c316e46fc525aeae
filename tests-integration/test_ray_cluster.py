"""Replicas on a Ray cluster of three nodes, which a driver in another process has."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest
import ray_cluster

Run = Callable[[Callable[[], None]], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Runs a function of `ray_cluster` in the driver of the cluster."""
    bytecode = str(tmp_path_factory.mktemp("bytecode"))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as driver:
        driver.submit(ray_cluster.start, bytecode).result(120)
        yield lambda function: driver.submit(function).result(60)
        assert driver.submit(ray_cluster.stop).result(60) == []


def test_replicas_spread_over_the_nodes(run: Run) -> None:
    run(ray_cluster.spread)


def test_a_strategy_of_the_user_decides_where_replicas_go(run: Run) -> None:
    run(ray_cluster.placed_by_the_user)


def test_results_that_nobody_asks_for_are_not_fetched(run: Run) -> None:
    run(ray_cluster.results_stay_where_they_are)


def test_a_killed_replica_is_left_out_and_the_others_keep_their_keys(run: Run) -> None:
    run(ray_cluster.lose_a_replica)


def test_a_replica_with_restarts_comes_back_to_its_keys(run: Run) -> None:
    run(ray_cluster.restart_a_replica)


def test_sessions_are_found_from_every_node_and_lost_with_their_replica(run: Run) -> None:
    run(ray_cluster.keep_sessions_on_their_nodes)


def test_a_lost_node_takes_its_replicas_and_no_others(run: Run) -> None:
    run(ray_cluster.lose_a_node)
