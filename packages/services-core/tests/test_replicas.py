"""The router spreads calls, keeps keys where they are, and leaves out what died."""

from __future__ import annotations

import contextlib
import gc
import pickle
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services_core import Handle, InlineService, ServiceDiedError, group_by_replica, native
from services_core.replicas import ReplicatedConnection
from services_core.testing.observing import in_forked_child
from services_core.testing.samples import Member

KEYS = [f"env-{number}" for number in range(1000)]


@pytest.fixture
def services() -> Iterator[InlineService]:
    with InlineService("replicas") as opened:
        yield opened


def router(handle: Handle) -> ReplicatedConnection:
    connection = handle._connection
    assert isinstance(connection, ReplicatedConnection)
    return connection


def homes(handle: Handle) -> dict[str, int]:
    return {key: router(handle).replica_of(key) for key in KEYS}


def end_replica(services: InlineService, index: int) -> None:
    assert services._stop(f"members#replica-{index}" if index else "members")


@pytest.mark.parametrize("lost", [0, 3])
def test_losing_a_replica_moves_its_keys_and_no_others(services: InlineService, lost: int) -> None:
    members = services.register("members", Member, replicas=5)
    before = homes(members)
    shares = Counter(before.values())
    assert set(shares) == set(range(5))
    assert all(120 < share < 280 for share in shares.values())

    end_replica(services, lost)
    moved_key = next(key for key, home in before.items() if home == lost)
    with pytest.raises(ServiceDiedError):
        members.who.options(key=moved_key)()
    after = homes(members)
    assert {key for key in KEYS if after[key] != before[key]} == {
        key for key in KEYS if before[key] == lost
    }
    # They move to all of the others, and a handle that comes later agrees.
    assert len({after[key] for key in KEYS if before[key] == lost}) == 4
    assert homes(services["members"]) == after


def test_calls_avoid_the_replicas_that_are_busy(services: InlineService) -> None:
    entered = threading.Semaphore(0)
    gate = threading.Event()

    class Slow:
        def wait(self) -> None:
            entered.release()
            assert gate.wait(30)

    slow = services.register("slow", Slow, replicas=4, max_concurrency=16)
    futures = [slow.wait.submit() for _ in range(32)]
    for _ in futures:
        assert entered.acquire(timeout=30)
    loads = [replica.outstanding for replica in router(slow)._replicas]
    gate.set()
    for future in futures:
        future.result(30)
    # Purely random choice would leave a spread of some 10; two choices keep it near the mean of 8.
    assert sum(loads) == 32
    assert max(loads) - min(loads) <= 6
    assert [replica.outstanding for replica in router(slow)._replicas] == [0, 0, 0, 0]


def test_a_handle_that_is_looked_up_each_time_knows_who_is_busy(services: InlineService) -> None:
    gate = threading.Event()

    class Slow:
        def wait(self) -> None:
            assert gate.wait(30)

    services.register("slow", Slow, replicas=4, max_concurrency=16)
    futures = [services["slow"].wait.submit() for _ in range(32)]
    loads = [replica.outstanding for replica in router(services["slow"])._replicas]
    gate.set()
    for future in futures:
        future.result(30)
    assert sum(loads) == 32
    assert max(loads) - min(loads) <= 6


def test_a_lookup_leaves_out_what_has_died_meanwhile(services: InlineService) -> None:
    members = services.register("members", Member, replicas=2)
    end_replica(services, 1)
    assert len({services["members"].who() for _ in range(20)}) == 1
    assert len({members.who() for _ in range(20)}) == 1
    assert len(native(members)) == 1
    # What is pickled doesn't bring the dead back.
    assert len({pickle.loads(pickle.dumps(members)).who() for _ in range(20)}) == 1


def test_every_way_of_calling_gives_its_place_back(services: InlineService) -> None:
    members = services.register("members", Member, replicas=2)
    with pytest.raises(TypeError):
        members.who("too many")
    with pytest.raises(TypeError):
        members.who.submit("too many").result(30)
    items = members.numbers(10)
    assert next(items) == 0
    items.close()
    list(members.numbers.remote(3))
    members.who.remote().result(30)
    assert [replica.outstanding for replica in router(members)._replicas] == [0, 0]


def test_many_threads_share_one_router(services: InlineService) -> None:
    members = services.register("members", Member, replicas=3)
    with ThreadPoolExecutor(32) as pool:
        names = list(pool.map(lambda _: members.who(), range(640)))
    assert len(set(names)) == 3
    assert all(replica.outstanding == 0 for replica in router(members)._replicas)


def test_a_stream_that_is_garbage_gives_its_place_back_whenever_it_is_collected(
    services: InlineService,
) -> None:
    members = services.register("members", Member, replicas=2)
    connection = router(members)
    items = members.numbers(10)
    assert next(items) == 0
    with connection._lock:  # in the middle of a choice, Python may collect garbage
        del items
        gc.collect()
    assert loads(connection) == [0, 0]


def test_choices_leave_the_users_random_numbers_alone(services: InlineService) -> None:
    members = services.register("members", Member, replicas=4)
    chosen = []
    for _ in range(2):  # workers that are all seeded alike don't all call the same replicas
        random.seed(7)
        before = random.getstate()
        chosen.append([members.who() for _ in range(40)])
        assert random.getstate() == before
    assert chosen[0] != chosen[1]


def test_a_forked_child_starts_with_nothing_outstanding_and_choices_of_its_own(
    services: InlineService,
) -> None:
    connection = router(services.register("members", Member, replicas=2))
    connection._take("env-1")
    with held_by_another_thread(connection):
        first, second = (in_forked_child(lambda: choose(connection), 10) for _ in range(2))
    for choices in (first, second):
        assert sum(choices[0]) == 0
    assert first != second


@contextlib.contextmanager
def held_by_another_thread(connection: ReplicatedConnection) -> Iterator[None]:
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        with connection._lock:
            held.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(30)
    yield
    over.set()
    thread.join()


def choose(connection: ReplicatedConnection) -> tuple[list[int], list[int]]:
    before = loads(connection)
    choices = []
    for _ in range(64):
        replica = connection._take(None)
        choices.append(replica.index)
        connection._give_back(replica)
    return before, choices


def loads(connection: ReplicatedConnection) -> list[int]:
    return [replica.outstanding for replica in connection._replicas]


def test_when_all_replicas_died_the_service_did(services: InlineService) -> None:
    members = services.register("members", Member, replicas=2)
    for index in (0, 1):
        end_replica(services, index)
        key = next(key for key in KEYS if router(members).replica_of(key) == index)
        with pytest.raises(ServiceDiedError):
            members.who.options(key=key)()
    with pytest.raises(ServiceDiedError, match="all its 2 replicas"):
        members.who()
    with pytest.raises(ServiceDiedError):
        group_by_replica(members, ["a"])
    assert services.list() == []


def test_the_death_of_another_service_is_not_the_replicas_own(services: InlineService) -> None:
    class Unlucky:
        def call(self) -> None:
            raise ServiceDiedError("somebody-else")

    unlucky = services.register("unlucky", Unlucky, replicas=2)
    for _ in range(4):
        with pytest.raises(ServiceDiedError, match="somebody-else"):
            unlucky.call()
    assert not any(replica.died for replica in router(unlucky)._replicas)


def test_one_that_is_being_restarted_rests_and_keeps_its_keys(services: InlineService) -> None:
    members = services.register("members", Member, replicas=2)
    connection = router(members)
    resting = connection._replicas[0]
    key = next(key for key in KEYS if connection.replica_of(key) == 0)
    taken = connection._take(key)
    assert taken is resting
    died = ServiceDiedError(resting.connection.key.name, restarting=True)
    connection._give_back(taken, died)
    resting.rests_until += 60  # this machine may be slow
    assert len({members.who() for _ in range(20)}) == 1
    assert connection.replica_of(key) == 0
    resting.rests_until = 0.0
    assert len({members.who() for _ in range(40)}) == 2
