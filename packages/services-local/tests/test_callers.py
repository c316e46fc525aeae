"""A caller that is slow, stuck or killed holds up nobody else."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from services_core import Handle, ServiceBase
from services_core.testing.observing import eventually
from services_core.testing.samples import Echo
from services_local import wire
from services_local.channels import Channel

StartPython = Callable[[str], subprocess.Popen[str]]

# In the main thread of the service, or in threads.
MODES = pytest.mark.parametrize("concurrency", [1, 2])

# More than a socket takes, and less than goes through shared memory.
LARGE = b"x" * 100_000
MANY = 8


@MODES
def test_one_that_stops_in_the_middle_of_a_frame(
    services: ServiceBase, open_channel: Callable[[Handle], Channel], concurrency: int
) -> None:
    echo = services.register("echo", Echo, max_concurrency=concurrency)
    slow = open_channel(echo)
    frame = slow.encode(0, wire.CALL, ("back", (LARGE,), {}))
    assert isinstance(frame, bytes)
    for start in range(0, len(frame), 20_001):
        slow.socket.sendall(frame[start : start + 20_001])
        assert echo.back(start)[0] == (start,)
    assert slow.receive().take_content()[0] == (LARGE,)


@MODES
def test_one_that_doesnt_read_its_answers(
    services: ServiceBase, open_channel: Callable[[Handle], Channel], concurrency: int
) -> None:
    echo = services.register("echo", Echo, max_concurrency=concurrency)
    deaf = [open_channel(echo) for _ in range(3)]

    def write(channel: Channel, kind: int) -> None:
        # What the service doesn't take now it takes when its answers are read.
        for request in range(MANY):
            channel.write(channel.encode(request, kind, ("back", (LARGE,), {})))

    for kind in (wire.SUBMIT, wire.CALL):
        for channel in deaf:
            threading.Thread(target=write, args=(channel, kind), daemon=True).start()
        for number in range(50):
            assert echo.back.options(timeout=30)(number)[0] == (number,)
            assert echo.back.submit(number).result(30)[0] == (number,)
        for channel in deaf:
            answers = [channel.receive() for _ in range(MANY)]
            assert all(answer.take_content()[0] == (LARGE,) for answer in answers)


@MODES
def test_one_that_is_stopped_and_goes_on_later(
    services: ServiceBase, start_python: StartPython, concurrency: int
) -> None:
    echo = services.register("echo", Echo, max_concurrency=concurrency)
    caller = start_python("""
from services_core import get_services
echo = get_services(backend="local", namespace="tests")["echo"]
large = b"x" * 100_000
print("ready", flush=True)
for _ in range(10):
    futures = [echo.back.submit(large) for _ in range(20)]
    assert all(future.result()[0] == (large,) for future in futures)
    print("round", flush=True)
print("done", flush=True)
""")
    assert caller.stdout is not None
    assert caller.stdout.readline() == "round\n"
    caller.send_signal(signal.SIGSTOP)
    assert [echo.back.options(timeout=30)(n)[0][0] for n in range(100)] == list(range(100))
    caller.send_signal(signal.SIGCONT)
    assert caller.communicate()[0].splitlines()[-1] == "done"


@MODES
def test_one_that_is_killed_during_its_call(
    services: ServiceBase, start_python: StartPython, tmp_path: Path, concurrency: int
) -> None:
    class Slow:
        def work(self, *_: object) -> str:
            (tmp_path / "working").touch()
            assert eventually(lambda: (tmp_path / "go").exists())
            (tmp_path / "worked").touch()
            return "done"

        def open_files(self) -> int:
            return sum(1 for _ in Path("/proc/self/fd").iterdir())

    slow = services.register("slow", Slow, max_concurrency=concurrency)
    files = slow.open_files()
    caller = start_python("""
from services_core import get_services
slow = get_services(backend="local", namespace="tests")["slow"]
print("ready", flush=True)
slow.work(bytearray(3_000_000))
""")
    assert eventually((tmp_path / "working").exists)
    caller.kill()
    caller.wait()
    (tmp_path / "go").touch()
    assert slow.work() == "done"
    assert eventually(lambda: bool(slow.open_files() == files))
