"""A service may run in several replicas, and is found, called and ended as one."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services_core.batches import call_by_key, call_each_replica, group_by_replica
from services_core.errors import (
    InvalidNameError,
    ServiceDiedError,
    ServiceExistsError,
    ServiceStartError,
)
from services_core.handles import Handle, native
from services_core.registry import ServiceBase
from services_core.testing.capabilities import Capability
from services_core.testing.observing import eventually, is_running
from services_core.testing.promises.basis import OpenRegistry, Promises, needs
from services_core.testing.samples import Counter, GatedMember, Member, wait_for_file

_KEYS = [f"env-{number}" for number in range(40)]


class Replicas(Promises):
    """A service may run in several replicas, and is found, called and ended as one."""

    def test_a_service_with_replicas_is_one_service(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        members = services.register("members", Member, replicas=2, closed=str(tmp_path))
        assert services.list() == ["members"]
        assert len(services) == 1
        assert services["members"] == members
        with pytest.raises(ServiceExistsError):
            services.register("members", Counter)
        names = {members.who() for _ in range(40)}
        assert len(names) == 2
        assert {services["members"].who() for _ in range(40)} == names
        assert {members.who.submit().result(30) for _ in range(40)} == names
        assert list(members.numbers(3)) == [0, 1, 2]

        async def ask() -> tuple[str, list[int]]:
            return await members.who.aio(), [n async for n in members.numbers.aio(2)]

        name, numbers = asyncio.run(ask())
        assert name in names
        assert numbers == [0, 1]
        assert len(native(members)) == 2
        info = services.describe("members")
        assert (info.name, info.state, info.options) == ("members", "running", {"replicas": 2})
        assert len(info.replicas) == 2
        services.unregister("members")
        assert services.list() == []
        assert {path.name for path in tmp_path.iterdir()} == names
        with pytest.raises(ServiceDiedError):
            members.who()

    def test_a_key_stays_on_its_replica(self, services: ServiceBase) -> None:
        members = services.register("members", Member, replicas=2)
        homes = {key: members.who.options(key=key)() for key in _KEYS}
        assert len(set(homes.values())) == 2
        others = [services["members"], pickle.loads(pickle.dumps(members))]
        for handle in (members, *others):
            assert {key: handle.who.options(key=key).submit().result(30) for key in _KEYS} == homes
        assert self.run_in_worker(_homes, services) == homes
        groups = group_by_replica(members, _KEYS)
        assert len(groups) == 2
        assert sorted(place for group in groups for place in group.positions) == list(range(40))
        for group in groups:
            home = members.who.options(key=group.key)()
            assert {homes[_KEYS[place]] for place in group.positions} == {home}
        single = services.register("single", Counter)
        assert [group.positions for group in group_by_replica(single, _KEYS)] == [list(range(40))]

    def test_a_batch_is_split_by_key_and_comes_back_in_order(self, services: ServiceBase) -> None:
        members = services.register("members", Member, replicas=2)
        homes = {key: members.who.options(key=key)() for key in _KEYS}
        for handle in (members, services["members"], pickle.loads(pickle.dumps(members))):
            taken = call_by_key(handle.take, range(40), _KEYS)
            assert taken == [(homes[key], number) for number, key in enumerate(_KEYS)]
        assert call_by_key(members.take, [], []) == []
        single = services.register("single", Member)
        assert call_by_key(single.take, _KEYS, _KEYS) == [(single.who(), key) for key in _KEYS]

    def test_all_replicas_can_be_called_at_once(self, services: ServiceBase) -> None:
        members = services.register("members", Member, replicas=2)
        names = call_each_replica(members.who)
        assert {*names} == {members.who.options(key=key)() for key in _KEYS}
        assert len(names) == 2
        assert call_each_replica(members.take, ["a"]) == [[(name, "a")] for name in names]
        single = services.register("single", Member)
        assert call_each_replica(single.who) == [single.who()]

    def test_calls_go_to_the_replica_that_is_less_busy(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        members = services.register("members", Member, replicas=2)
        gate = tmp_path / "gate"
        for start in (members.busy.submit, members.busy.remote):
            busy = start(str(gate))
            try:
                idle = {members.who.options(timeout=30)() for _ in range(10)}
                assert len(idle) == 1
            finally:
                gate.touch()
            del busy
            assert eventually(lambda: len({members.who() for _ in range(20)}) == 2)
            gate.unlink()

    def test_all_replicas_are_seen_at_once_or_none(
        self, services: ServiceBase, open_registry: OpenRegistry, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        other = open_registry("conformance")
        with ThreadPoolExecutor(1) as pool:
            registering = pool.submit(
                services.register, "gated", GatedMember, str(tmp_path), str(gate), replicas=2
            )
            try:
                wait_for_file(str(tmp_path / "later"))
                with pytest.raises(ServiceExistsError):
                    other.register("gated", Counter)
                assert "gated" not in other
                assert other.list() == []
            finally:
                gate.touch()
            assert registering.result(30) == other["gated"]

    def test_a_replica_that_fails_fails_the_registration(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        roll, closed = tmp_path / "roll", tmp_path / "closed"
        roll.mkdir()
        closed.mkdir()
        with pytest.raises(ServiceStartError, match="BrokenError"):
            services.register("members", Member, str(roll), fails=1, replicas=2)
        assert services.list() == []
        assert services.register("members", Member).who()

    def test_no_service_is_named_like_a_replica(self, services: ServiceBase) -> None:
        with pytest.raises(InvalidNameError):
            services.register("members#replica-1", Counter)
        services.register("members", Counter, replicas=2)
        assert "members#replica-1" not in services
        assert services.register("members#replica-", Counter).add() == 1

    @needs(Capability.PROCESSES)
    @pytest.mark.parametrize("killed", [0, 1])
    def test_when_a_replica_dies_the_others_go_on(self, services: ServiceBase, killed: int) -> None:
        members = services.register("members", Member, replicas=2)
        pids = {info.pid for info in services.describe("members").replicas}
        homes = {key: members.who.options(key=key)() for key in _KEYS}
        victim = services.describe("members").replicas[killed].pid
        assert victim is not None
        _kill(victim)
        # A call that is the first to find out fails; later ones don't. The keys lead to both.
        assert eventually(lambda: _survives(lambda: _pids(members)))
        assert {members.pid() for _ in range(20)} == pids - {victim}
        assert services.list() == ["members"]
        assert services["members"] == members
        assert [info.pid for info in services.describe("members").replicas] == [*pids - {victim}]
        survivor = members.who()
        for handle in (members, services["members"]):
            assert {key: handle.who.options(key=key)() for key in _KEYS} == dict.fromkeys(
                homes, survivor
            )
        with pytest.raises(ServiceExistsError):
            services.register("members", Counter)
        services.reset()
        assert eventually(lambda: not any(is_running(pid) for pid in pids if pid is not None))
        assert services.register("members", Counter).add() == 1

    @needs(Capability.PROCESSES)
    def test_of_a_batch_that_finds_a_replica_dead_the_rest_is_not_lost(
        self, services: ServiceBase
    ) -> None:
        members = services.register("members", Member, replicas=2)
        homes = {key: members.who.options(key=key)() for key in _KEYS}
        dead = homes[_KEYS[0]]
        _kill(members.pid.options(key=_KEYS[0])())
        taken = call_by_key(members.take, _KEYS, _KEYS, return_exceptions=True)
        for key, result in zip(_KEYS, taken, strict=True):
            if homes[key] == dead:
                assert isinstance(result, ServiceDiedError)
            else:
                assert result == (homes[key], key)
        (survivor,) = call_each_replica(members.who)
        assert survivor != dead
        assert call_by_key(members.take, _KEYS, _KEYS) == [(survivor, key) for key in _KEYS]

    @needs(Capability.RESTARTS)
    def test_a_replica_that_is_restarted_keeps_its_keys(self, services: ServiceBase) -> None:
        members = services.register("members", Member, replicas=2, max_restarts=1)
        pids = {key: members.pid.options(key=key)() for key in _KEYS}
        victim, *_ = set(pids.values())
        _kill(victim)
        assert eventually(lambda: _survives(lambda: _pids(members)))
        now = _pids(members)
        assert {pid for key, pid in now.items() if pids[key] != victim} == {*pids.values()} - {
            victim
        }
        assert {key for key, pid in now.items() if pid not in pids.values()} == {
            key for key, pid in pids.items() if pid == victim
        }


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not is_running(pid))


def _survives(call: Callable[[], object]) -> bool:
    try:
        call()
    except ServiceDiedError:
        return False
    return True


def _pids(members: Handle) -> dict[str, int]:
    return {key: members.pid.options(key=key)() for key in _KEYS}


def _homes(services: ServiceBase) -> dict[str, str]:
    members = services["members"]
    return {key: members.who.options(key=key)() for key in _KEYS}
