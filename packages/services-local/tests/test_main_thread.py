"""One call at a time runs where the constructor ran: in the main thread of the service."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services_core import RemoteError, ServiceBase, ServiceDiedError
from services_core.testing.observing import eventually
from services_local import records
from services_local.runtime import RuntimeDirectory


def test_all_of_a_service_runs_in_its_main_thread(services: ServiceBase, tmp_path: Path) -> None:
    class Ledger:
        """Holds what belongs to a thread: a connection of sqlite3."""

        def __init__(self) -> None:
            self._database = sqlite3.connect(":memory:")
            self._database.execute("CREATE TABLE entries (amount)")
            self._signals = 0

        def enter(self, amount: int) -> bool:
            self._database.execute("INSERT INTO entries VALUES (?)", (amount,))
            return threading.current_thread() is threading.main_thread()

        def amounts(self) -> Iterator[int]:
            for (amount,) in self._database.execute("SELECT amount FROM entries"):
                yield amount

        def count_signals(self) -> None:
            signal.signal(signal.SIGUSR1, self._count)

        def _count(self, *_: object) -> None:
            self._signals += 1

        def signals(self) -> int:
            return self._signals

        def close(self) -> None:
            (total,) = self._database.execute("SELECT sum(amount) FROM entries").fetchone()
            (tmp_path / "total").write_text(str(total))

    ledger = services.register("ledger", Ledger)
    assert ledger.enter(1)
    assert ledger.enter.submit(2).result(30)
    assert list(ledger.amounts()) == [1, 2]
    ledger.count_signals()
    pid = services.describe("ledger").pid
    assert pid is not None
    os.kill(pid, signal.SIGUSR1)
    assert eventually(lambda: ledger.signals() == 1)
    services.unregister("ledger")
    assert (tmp_path / "total").read_text() == "3"


def test_more_than_one_at_a_time_runs_in_other_threads(services: ServiceBase) -> None:
    class Where:
        def main(self) -> bool:
            return threading.current_thread() is threading.main_thread()

    class AsyncWhere:
        async def main(self) -> bool:
            return threading.current_thread() is threading.main_thread()

    assert services.register("one", Where, max_concurrency=1).main()
    assert not services.register("two", Where, max_concurrency=2).main()
    assert not services.register("async", AsyncWhere).main()


def test_a_stream_takes_turns_with_calls_and_closes_with_its_reader(services: ServiceBase) -> None:
    class Numbers:
        def __init__(self) -> None:
            self._state = "none"

        def count(self) -> Iterator[int]:
            self._state = "open"
            try:
                number = 0
                while True:
                    yield number
                    number += 1
            finally:
                self._state = "closed"

        def listed(self) -> list[int]:
            return [1, 2]

        def state(self) -> str:
            return self._state

    numbers = services.register("numbers", Numbers)
    first, second = numbers.count(), numbers.count()
    assert [next(first), next(second), next(first)] == [0, 0, 1]
    assert numbers.state.submit().result(30) == "open"
    second.close()
    assert eventually(lambda: numbers.state() == "closed")
    assert [next(first) for _ in range(5000)] == list(range(2, 5002))
    # One that is never asked for an item is closed too.
    unread = numbers.count()
    assert eventually(lambda: numbers.state() == "open")
    del unread
    assert eventually(lambda: numbers.state() == "closed")
    first.close()


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_generator_that_fails_fails_its_reader_alone(
    services: ServiceBase, concurrency: int
) -> None:
    class Failing:
        def fail(self, *, leave: bool) -> Iterator[int]:
            yield 1
            if leave:
                raise SystemExit(3)
            raise LookupError("no more")

        def unsendable(self) -> Iterator[object]:
            yield threading.Lock()

        def well(self) -> str:
            return "well"

    failing = services.register("failing", Failing, max_concurrency=concurrency)
    for leave, error in ((False, LookupError), (True, RemoteError)):
        items = failing.fail(leave=leave)
        assert next(items) == 1
        with pytest.raises(error):
            next(items)
    with pytest.raises(TypeError, match="pickle"):
        next(failing.unsendable())
    assert failing.well() == "well"


def test_a_child_that_returns_into_the_service_answers_nobody(services: ServiceBase) -> None:
    class Forker:
        def fork(self) -> int:
            return os.fork()

        def wait(self, child: int) -> int:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    forker = services.register("forker", Forker)
    child = forker.fork()
    assert child > 0
    assert forker.wait(child) == 1


def test_only_public_methods_can_be_called(services: ServiceBase) -> None:
    class Private:
        def public(self) -> str:
            return "public"

        def _private(self) -> str:
            return "private"

    for concurrency in (1, 2):
        service = services.register(f"private-{concurrency}", Private, max_concurrency=concurrency)
        connection = service._connection
        with pytest.raises(AttributeError, match="_private"):
            connection.call("_private", (), {}, service.public._options)
        assert service.public() == "public"


def test_a_method_that_runs_when_its_service_is_ended_gets_its_time(
    services: ServiceBase, runtime_dir: Path, tmp_path: Path
) -> None:
    class Slow:
        def work(self) -> str:
            (tmp_path / "working").touch()
            assert eventually(lambda: (tmp_path / "go").exists())
            return "done"

        def close(self) -> None:
            assert threading.current_thread() is threading.main_thread()
            (tmp_path / "closed").touch()

    slow = services.register("slow", Slow, close_timeout=20.0)
    working, waiting = slow.work.submit(), slow.work.submit()
    assert eventually((tmp_path / "working").exists)
    ending = threading.Thread(target=services.unregister, args=("slow",))
    ending.start()

    def is_ending() -> bool:
        record = records.find(RuntimeDirectory(runtime_dir), "tests", "slow")
        return record is not None and record.state == "ending"

    assert eventually(is_ending)
    (tmp_path / "go").touch()
    assert working.result(30) == "done"
    with pytest.raises(ServiceDiedError):
        waiting.result(30)
    ending.join()
    assert (tmp_path / "closed").exists()


def test_a_method_that_never_returns_doesnt_keep_close_from_running(
    services: ServiceBase, tmp_path: Path
) -> None:
    class Stuck:
        def hang(self) -> None:
            (tmp_path / "hanging").touch()
            threading.Event().wait()

        def close(self) -> None:
            (tmp_path / "closed").touch()

    stuck = services.register("stuck", Stuck, close_timeout=0.3)
    hanging = stuck.hang.submit()
    assert eventually((tmp_path / "hanging").exists)
    services.unregister("stuck")
    assert (tmp_path / "closed").exists()
    with pytest.raises(ServiceDiedError):
        hanging.result(30)


def test_a_polite_signal_ends_a_service_with_its_close(
    services: ServiceBase, tmp_path: Path
) -> None:
    class Closing:
        def close(self) -> None:
            (tmp_path / "closed").touch()

    services.register("closing", Closing)
    pid = services.describe("closing").pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    assert eventually(lambda: "closing" not in services)
    assert (tmp_path / "closed").exists()
