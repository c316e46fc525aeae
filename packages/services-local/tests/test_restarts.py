"""Services with max_restarts: who starts them again, and what ends them all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from services_core import ServiceBase, ServiceDiedError, get_services
from services_core.testing.observing import eventually, is_running
from services_core.testing.samples import Counter, Failing, Gated
from services_local import ending, records
from services_local.records import Record
from services_local.runtime import RuntimeDirectory

Running = Callable[[], list[int]]
StartPython = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def record_of(runtime_dir: Path) -> Callable[[str], Record]:
    """What is written of a service."""

    def find(name: str) -> Record:
        record = records.find(RuntimeDirectory(runtime_dir), "tests", name)
        assert record is not None
        return record

    return find


def test_whatever_call_was_under_way_is_told_that_it_comes_back(services: ServiceBase) -> None:
    failing = services.register("failing", Failing, max_restarts=-1)
    told: list[bool] = []

    def is_well() -> bool:
        try:
            return bool(failing.well() == "well")
        except ServiceDiedError as error:
            told.append(error.restarting)
            return False

    async def leave() -> None:
        await failing.leave.aio()

    def read() -> None:
        list(failing.leave_while_streaming())

    ways: list[Callable[[], object]] = [
        failing.leave,
        lambda: failing.leave.submit().result(30),
        lambda: asyncio.run(leave()),
        read,
    ]
    for number, way in enumerate(ways):
        with pytest.raises(ServiceDiedError) as caught:
            way()
        assert caught.value.restarting
        assert eventually(is_well)
        assert services.describe("failing").restarts == number + 1
    # Sockets that led to the earlier process are not used for a call that could have been made.
    assert failing.well.submit().result(30) == "well"
    assert all(told)


def test_while_it_is_down_it_is_found_and_says_so(services: ServiceBase, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    gated = services.register("gated", Gated, str(gate), max_restarts=1)
    gate.unlink()
    pid = services.describe("gated").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: services.describe("gated").state == "restarting")
    assert services.describe("gated").pid is None
    assert services.list() == ["gated"]
    assert services["gated"] == gated
    with pytest.raises(ServiceDiedError) as caught:
        gated.wait(str(gate))
    assert caught.value.restarting
    gate.touch()
    assert eventually(lambda: services.describe("gated").state == "running")
    assert gated.wait(str(gate)) == "open"
    assert services.describe("gated").restarts == 1


def test_a_constructor_that_fails_again_is_a_death_too(
    services: ServiceBase, tmp_path: Path
) -> None:
    class Once:
        def __init__(self) -> None:
            with (tmp_path / "starts").open("a") as starts:
                starts.write("x")
            if len((tmp_path / "starts").read_text()) > 1:
                raise LookupError("only once")

        def leave(self) -> None:
            os._exit(0)

    once = services.register("once", Once, max_restarts=2)
    with pytest.raises(ServiceDiedError) as caught:
        once.leave()
    assert caught.value.restarting
    assert eventually(lambda: "once" not in services)
    assert (tmp_path / "starts").read_text() == "xxx"
    with pytest.raises(ServiceDiedError) as caught:
        once.leave()
    assert not caught.value.restarting
    assert services.register("once", Counter).add() == 1


def test_a_constructor_that_hangs_when_it_is_started_again_is_a_death_too(
    services: ServiceBase, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    services.register("gated", Gated, str(gate), max_restarts=1, start_timeout=1.0)
    gate.unlink()
    pid = services.describe("gated").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: "gated" not in services)


@pytest.mark.parametrize("end", ["unregister", "reset"])
def test_one_that_is_being_started_again_can_be_ended(
    services: ServiceBase, running_services: Running, tmp_path: Path, end: str
) -> None:
    gate, entered = tmp_path / "gate", tmp_path / "entered"
    gate.touch()
    services.register("gated", Gated, str(gate), str(entered), max_restarts=-1)
    gate.unlink()
    entered.unlink()
    pid = services.describe("gated").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(entered.exists)  # its constructor runs again, and waits
    if end == "reset":
        services.reset()
    else:
        services.unregister("gated")
    assert services.list() == []
    assert not running_services()
    assert services.register("gated", Counter).add() == 1


def test_without_its_supervisor_it_lives_on_and_ends_properly(
    services: ServiceBase, record_of: Callable[[str], Record], tmp_path: Path
) -> None:
    mark = tmp_path / "closed"
    counter = services.register("counter", Counter, mark=str(mark), max_restarts=-1)
    supervisor = record_of("counter").supervisor
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    assert eventually(lambda: not is_running(supervisor))
    assert counter.add() == 1
    assert services["counter"].add() == 2
    services.unregister("counter")
    assert mark.read_text() == "closed"
    assert services.list() == []


def test_without_its_supervisor_it_is_not_started_again(
    services: ServiceBase, record_of: Callable[[str], Record]
) -> None:
    counter = services.register("counter", Counter, max_restarts=-1)
    record = record_of("counter")
    assert record.supervisor is not None
    os.kill(record.supervisor, signal.SIGKILL)
    assert eventually(lambda: not is_running(record.supervisor or 0))
    os.kill(record.pid, signal.SIGKILL)
    with pytest.raises(ServiceDiedError) as caught:
        counter.add()
    assert not caught.value.restarting
    assert "counter" not in services
    assert services.register("counter", Counter).add() == 1


def test_a_supervisor_that_is_killed_while_it_starts_the_service_leaves_nothing(
    services: ServiceBase,
    running_services: Running,
    record_of: Callable[[str], Record],
    tmp_path: Path,
) -> None:
    gate, entered = tmp_path / "gate", tmp_path / "entered"
    gate.touch()
    services.register("gated", Gated, str(gate), str(entered), max_restarts=-1)
    gate.unlink()
    entered.unlink()
    record = record_of("gated")
    os.kill(record.pid, signal.SIGKILL)
    assert eventually(entered.exists)
    assert record.supervisor is not None
    os.kill(record.supervisor, signal.SIGKILL)
    assert eventually(lambda: not running_services() and not services._names(starting=True))
    assert services.list() == []


def test_a_polite_signal_to_the_supervisor_ends_both(
    services: ServiceBase,
    running_services: Running,
    record_of: Callable[[str], Record],
    tmp_path: Path,
) -> None:
    mark = tmp_path / "closed"
    services.register("counter", Counter, mark=str(mark), max_restarts=-1)
    supervisor = record_of("counter").supervisor
    assert supervisor is not None
    os.kill(supervisor, signal.SIGTERM)
    assert eventually(lambda: not running_services())
    assert mark.read_text() == "closed"


def test_a_service_that_is_stopped_for_good_is_killed_with_its_supervisor(
    services: ServiceBase,
    running_services: Running,
    record_of: Callable[[str], Record],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "EXIT_SECONDS", 0.3)
    services.register("counter", Counter, max_restarts=-1, close_timeout=0.1)
    os.kill(record_of("counter").pid, signal.SIGSTOP)
    services.unregister("counter")
    assert services.list() == []
    assert not running_services()


def test_a_namespace_that_nobody_has_open_ends_with_those_being_started_again(
    monkeypatch: pytest.MonkeyPatch,
    running_services: Running,
    start_python: StartPython,
    runtime_dir: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SERVICES_LOCAL_LINGER", "0.2")
    opener = start_python(f"""
import os, signal, sys
from pathlib import Path
from services_core import get_services
from services_core.testing.samples import Counter, Gated, wait_for_file
services = get_services(backend="local", namespace="tests")
gate, entered = {str(tmp_path / "gate")!r}, {str(tmp_path / "entered")!r}
Path(gate).touch()
services.register("gated", Gated, gate, entered, max_restarts=-1)
services.register("counter", Counter, mark={str(tmp_path / "closed")!r}, max_restarts=1)
Path(gate).unlink()
Path(entered).unlink()
os.kill(services.describe("gated").pid, signal.SIGKILL)
wait_for_file(entered)
print("ready", flush=True)
sys.stdin.read()
""")
    assert len(running_services()) == 4
    opener.kill()
    opener.wait()
    assert eventually(lambda: not running_services())
    assert (tmp_path / "closed").read_text() == "closed"
    assert eventually(lambda: {p.name for p in runtime_dir.iterdir()} <= {"key", "mutex"})


def test_replicas_are_started_again_each_by_itself(services: ServiceBase) -> None:
    counters = services.register("counters", Counter, replicas=2, max_restarts=1)
    assert services.describe("counters").restarts == 0
    first, second = (info.pid for info in services.describe("counters").replicas)
    assert first is not None
    assert second is not None
    os.kill(second, signal.SIGKILL)
    assert eventually(lambda: services.describe("counters").restarts == 1)
    assert eventually(
        lambda: [info.state for info in services.describe("counters").replicas] == ["running"] * 2
    )
    pids = [info.pid for info in services.describe("counters").replicas]
    assert pids[0] == first
    assert pids[1] != second
    assert {counters.pid() for _ in range(40)} <= set(pids)


def test_what_registers_is_killed_before_the_service_is_constructed(
    services: ServiceBase, running_services: Running, tmp_path: Path
) -> None:
    """The supervisor and the server end, and the name is free."""
    entered = tmp_path / "entered"
    registrar = os.fork()
    if registrar == 0:
        try:
            other = get_services(backend="local", namespace="tests")
            other.register("gated", Gated, str(tmp_path / "never"), str(entered), max_restarts=-1)
        finally:
            os._exit(1)
    assert eventually(entered.exists)
    os.kill(registrar, signal.SIGKILL)
    os.waitpid(registrar, 0)
    assert eventually(lambda: not running_services() and not services._names(starting=True))
    assert services.register("gated", Counter).add() == 1
