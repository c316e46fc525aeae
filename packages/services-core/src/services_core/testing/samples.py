"""Services for the conformance suite; importable in every worker of every backend."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from services_core.handles import Handle


class Counter:
    """Keeps a number."""

    def __init__(self, start: int = 0, *, mark: str | None = None) -> None:
        self.count = start
        self._mark = mark

    def add(self, amount: int = 1) -> int:
        """Add to the number and return it."""
        self.count += amount
        return self.count

    def pid(self) -> int:
        """Process that the service runs in."""
        return os.getpid()

    def pair(self) -> tuple[int, int]:
        """Two numbers, for backends that can take a tuple apart."""
        return 1, 2

    def upto(self, end: int) -> Iterator[int]:
        """Yield the numbers below `end`."""
        yield from range(end)

    def close(self) -> None:
        """Leave a mark that the service was closed and not just killed."""
        if self._mark is not None:
            Path(self._mark).write_text("closed")


class AsyncCounter:
    """A service with coroutine methods."""

    async def twice(self, value: int) -> int:
        """Twice the value."""
        return 2 * value

    async def upto(self, end: int) -> AsyncIterator[int]:
        """Yield the numbers below `end`."""
        for number in range(end):
            yield number


class Echo:
    """Returns its constructor's and its methods' arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._arguments = (args, kwargs)

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the constructor was given."""
        return self._arguments

    def back(self, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What this method is given."""
        return args, kwargs


class WantsCpus:
    """A class whose parameter has the name of an option."""

    def __init__(self, num_cpus: int = 1) -> None:
        self._num_cpus = num_cpus

    def num_cpus(self) -> int:
        """What the constructor was given."""
        return self._num_cpus


class BrokenError(Exception):
    """Carries a number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class SealedError(Exception):
    """Can't be pickled."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("sealed")


class UnbuildableError(Exception):
    """Pickles, and can't be rebuilt: its constructor wants more than its message."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Failing:
    """Fails in the ways that a service can."""

    def __init__(self, *, at_start: bool = False) -> None:
        if at_start:
            raise BrokenError(7)

    def fail(self) -> None:
        """Raise an exception that pickles."""
        raise BrokenError(7)

    def fail_sealed(self) -> None:
        """Raise an exception that doesn't pickle."""
        raise SealedError("as you see")

    def fail_unbuildable(self) -> None:
        """Raise an exception that can't be rebuilt."""
        raise UnbuildableError(1, 2)

    def unpicklable(self) -> Any:
        """Return what can't be sent."""
        return threading.Lock()

    def stop_iteration(self) -> NoReturn:
        """Raise what an asyncio future can't hold."""
        raise StopIteration("as you see")

    def exit(self) -> NoReturn:
        """Try to end the process, in the polite way."""
        sys.exit(3)

    def leave(self) -> NoReturn:
        """End the process at once."""
        os._exit(3)

    def leave_a_mark_and_go(self, mark: str) -> NoReturn:
        """Add a line to a file, then end the process."""
        with Path(mark).open("a") as file:
            file.write("called\n")
        os._exit(3)

    def fail_while_streaming(self) -> Iterator[int]:
        """Yield a number, then raise an exception that pickles."""
        yield 1
        raise BrokenError(7)

    def leave_while_streaming(self) -> Iterator[int]:
        """Yield a number, then end the process."""
        yield 1
        os._exit(3)

    def well(self, ignored: object = None) -> str:
        """Show that the service lives."""
        return "well"


class Leaver:
    """A constructor that ends its process."""

    def __init__(self) -> None:
        os._exit(3)


class Stubborn:
    """A `close()` that never ends."""

    def pid(self) -> int:
        """Process that the service runs in."""
        return os.getpid()

    def close(self) -> None:
        """Wait for ever."""
        threading.Event().wait()


class Faulty:
    """A `close()` that raises."""

    def pid(self) -> int:
        """Process that the service runs in."""
        return os.getpid()

    def close(self) -> None:
        """Raise."""
        raise BrokenError(7)


class Careful:
    """Knows whether `close()` came while a method ran.

    Args:
        mark: A file in which `close()` says so.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._state = "idle"

    def work(self, entered: str, gate: str) -> None:
        """Make a file, and return when another is there."""
        self._state = "busy"
        Path(entered).touch()
        wait_for_file(gate)
        self._state = "idle"

    def close(self) -> None:
        """Leave a mark."""
        Path(self._mark).write_text(self._state)


class Caller:
    """A service that calls services."""

    def answer(self) -> int:
        """What others ask for."""
        return 42

    def ask(self, handle: Handle) -> int:
        """Call a service and wait."""
        answer: int = handle.answer()
        return answer


class AsyncCaller:
    """A service with coroutine methods that calls services."""

    async def answer(self) -> int:
        """What others ask for."""
        return 42

    async def ask(self, handle: Handle) -> int:
        """Call a service and block the event loop meanwhile."""
        answer: int = handle.answer()
        return answer

    async def ask_politely(self, handle: Handle) -> int:
        """Call a service and leave the event loop to others meanwhile."""
        answer: int = await handle.answer.aio()
        return answer


class Member:
    """One replica of several.

    Args:
        roll: A folder in which each replica that is constructed leaves a file.
        fails: Which one raises, counted from 0 in the order of construction.
        closed: A folder in which each replica that is closed leaves a file.
    """

    def __init__(
        self, roll: str | None = None, *, fails: int = -1, closed: str | None = None
    ) -> None:
        self._name = uuid.uuid4().hex
        self._closed = closed
        if roll is not None:
            for number in range(1000):
                with contextlib.suppress(FileExistsError):
                    Path(roll, str(number)).touch(exist_ok=False)
                    break
            if number == fails:
                raise BrokenError(number)

    def who(self) -> str:
        """A name that no other replica has."""
        return self._name

    def take(self, items: list[Any]) -> list[tuple[str, Any]]:
        """Each item with the name."""
        return [(self._name, item) for item in items]

    def pid(self) -> int:
        """Process that the replica runs in."""
        return os.getpid()

    def busy(self, gate: str) -> str:
        """Return the name when a file is there."""
        wait_for_file(gate)
        return self._name

    def numbers(self, end: int) -> Iterator[int]:
        """Yield the numbers below `end`."""
        yield from range(end)

    def close(self) -> None:
        """Leave a mark that the replica was closed."""
        if self._closed is not None:
            Path(self._closed, self._name).touch()


class Server:
    """An owner: it runs by itself and gives out addresses.

    Args:
        address: Where it is said to listen.
    """

    def __init__(self, address: str = "http://127.0.0.1:8000") -> None:
        self._address = address
        self._runs = False

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._runs

    def start(self) -> Server:
        """Start it."""
        self._runs = True
        return self

    def shutdown(self) -> None:
        """End it."""
        self._runs = False

    def client(self) -> Address:
        """What others reach it by."""
        return Address(self._address)


@dataclass(frozen=True)
class Address:
    """The client of a `Server`."""

    url: str


class Gated:
    """A constructor and a method that wait until a file is there.

    Args:
        gate: The file that the constructor waits for, or None.
        entered: A file that the constructor makes first, or None.
    """

    def __init__(self, gate: str | None = None, entered: str | None = None) -> None:
        if entered is not None:
            Path(entered).touch()
        if gate is not None:
            wait_for_file(gate)

    def wait(self, gate: str) -> str:
        """Return when the file is there."""
        wait_for_file(gate)
        return "open"

    def items(self, gate: str) -> Iterator[str]:
        """Yield when the file is there."""
        wait_for_file(gate)
        yield "open"


class GatedMember:
    """One of several replicas, whose constructor waits unless it is the first to run.

    Args:
        roll: A folder in which each replica leaves a file.
        gate: The file that all but the first wait for.
    """

    def __init__(self, roll: str, gate: str) -> None:
        try:
            Path(roll, "first").touch(exist_ok=False)
        except FileExistsError:
            Path(roll, "later").touch()
            wait_for_file(gate)


class Meeting:
    """Knows whether two calls were inside at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._most = 0
        self._together = threading.Barrier(2)

    def meet(self) -> str:
        """Return when two callers are inside; `threading.BrokenBarrierError` if none comes."""
        self._together.wait(20)
        return "met"

    def pass_by(self) -> int:
        """The largest number of callers that were ever inside together."""
        with self._lock:
            self._inside += 1
            self._most = max(self._most, self._inside)
        time.sleep(0.002)
        with self._lock:
            self._inside -= 1
            return self._most


def wait_for_file(path: str, timeout: float = 30.0) -> None:
    """Wait until a file is there.

    Raises:
        TimeoutError: It isn't after `timeout` seconds.
    """
    give_up = time.monotonic() + timeout
    while not Path(path).exists():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{path} was never made")
        time.sleep(0.002)
