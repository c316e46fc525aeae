"""Services live as long as somebody has their namespace open, and then a linger longer."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services_core import ServiceBase, get_services
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter

Running = Callable[[], list[int]]
StartPython = Callable[[str], subprocess.Popen[str]]

_OPENER = """
import sys
from services_core import get_services
from services_core.testing.samples import Counter
services = get_services(backend="local", namespace="lease")
services.get_or_register("counter", Counter, 0, **{options})
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICES_LOCAL_LINGER", "0.2")


@pytest.fixture
def services() -> Iterator[ServiceBase]:
    with get_services(backend="local", namespace="launching") as opened:
        yield opened


@pytest.fixture
def openers() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that have the namespace open; those that are left are killed."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def start_opener(
    openers: list[subprocess.Popen[str]], options: str = "{}", name: str = "counter"
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _OPENER.replace("{options}", options).replace("counter", name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    openers.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def test_a_service_outlives_a_registrar_that_was_killed(
    openers: list[subprocess.Popen[str]],
) -> None:
    services = get_services(backend="local", namespace="lease")
    registrar = start_opener(openers)
    assert services["counter"].add() == 1
    registrar.send_signal(signal.SIGKILL)
    registrar.wait()
    assert services["counter"].add() == 2
    services.shutdown()


def test_after_the_last_opener_nothing_is_left(
    openers: list[subprocess.Popen[str]], running_services: Running, runtime_dir: Path
) -> None:
    both = [start_opener(openers), start_opener(openers)]
    assert len(running_services()) == 1
    for process in both:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert eventually(lambda: not running_services())
    assert eventually(lambda: {p.name for p in runtime_dir.iterdir()} <= {"key", "mutex"})


def test_in_a_directory_that_was_removed_services_end_too(
    openers: list[subprocess.Popen[str]], running_services: Running, runtime_dir: Path
) -> None:
    first = start_opener(openers)
    second = start_opener(openers, '{"max_restarts": 1}', name="restarted")
    assert len(running_services()) == 3
    moved = runtime_dir.rename(runtime_dir.with_suffix(".gone"))
    shutil.rmtree(moved)
    for pid in running_services():
        if b"services_local.supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)  # its service is left to look after itself
    for process in (first, second):
        process.kill()
        process.wait()
    assert eventually(lambda: not running_services())
    assert not runtime_dir.exists()
    runtime_dir.mkdir(mode=0o700)  # as it was


def test_a_service_without_a_descriptor_left_ends_too(running_services: Running) -> None:
    class Leak:
        def use_up_descriptors(self) -> None:
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
            self.files = []
            with contextlib.suppress(OSError):
                while True:
                    self.files.append(os.open(os.devnull, os.O_RDONLY))

    services = get_services(backend="local", namespace="leaking")
    services.register("leak", Leak).use_up_descriptors()
    services.close()
    assert eventually(lambda: not running_services())
    with get_services(backend="local", namespace="leaking") as services:
        assert eventually(lambda: services.list() == [])  # it couldn't remove its files


def test_whoever_ends_the_last_service_may_be_killed_meanwhile(
    openers: list[subprocess.Popen[str]],
    running_services: Running,
    runtime_dir: Path,
    tmp_path: Path,
) -> None:
    class Slow:
        def close(self) -> None:
            (tmp_path / "closing").touch()
            assert eventually((tmp_path / "killed").exists)

    services = get_services(backend="local", namespace="lease")
    services.register("slow", Slow, lifetime="detached")
    services.close()
    reset = [sys.executable, "-m", "services_local", "reset", "lease"]
    openers.append(subprocess.Popen(reset, text=True))
    assert eventually((tmp_path / "closing").exists)
    openers[0].kill()
    openers[0].wait()
    (tmp_path / "killed").touch()
    assert eventually(lambda: not running_services())
    assert {path.name for path in runtime_dir.iterdir()} <= {"key", "mutex"}


def test_a_detached_service_stays_until_reset(
    openers: list[subprocess.Popen[str]], running_services: Running
) -> None:
    process = start_opener(openers, '{"lifetime": "detached"}')
    process.kill()
    process.wait()
    with get_services(backend="local", namespace="lease") as services:
        assert services["counter"].add() == 1
        # One that isn't detached ends with the namespace; this one doesn't.
        services.register("other", Counter)
        services.close()
        assert eventually(lambda: len(running_services()) == 1)
    again = get_services(backend="local", namespace="lease")
    assert again.list() == ["counter"]
    again.shutdown()


def test_a_forked_childs_exit_ends_nothing() -> None:
    services = get_services(backend="local", namespace="lease")
    services.register("counter", Counter)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if services["counter"].add() == 1 else 2
            services.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert services["counter"].add() == 2
    services.shutdown()


def test_a_service_that_looks_up_another_keeps_nothing_alive(
    running_services: Running, runtime_dir: Path
) -> None:
    class Looker:
        """A service that holds a registry of its own namespace."""

        def __init__(self, services: ServiceBase) -> None:
            self._services = services

        def look(self) -> int:
            """Call the other service."""
            result: int = self._services["counter"].add()
            return result

    services = get_services(backend="local", namespace="lease")
    services.register("counter", Counter)
    looker = services.register("looker", Looker, services)
    assert looker.look() == 1
    services.close()
    assert eventually(lambda: not running_services())
    assert eventually(lambda: {p.name for p in runtime_dir.iterdir()} <= {"key", "mutex"})


def test_ctrl_c_during_registration_leaves_nothing(
    running_services: Running, tmp_path: Path
) -> None:
    source = f"""
import os, signal, threading
from services_core import get_services
from services_core.testing.samples import Gated, wait_for_file

def interrupt():
    wait_for_file({str(tmp_path / "entered")!r})
    os.kill(os.getpid(), signal.SIGINT)

services = get_services(backend="local", namespace="lease")
threading.Thread(target=interrupt).start()
try:
    services.register("gated", Gated, {str(tmp_path / "gate")!r}, {str(tmp_path / "entered")!r})
except KeyboardInterrupt:
    assert services.list() == []
    services.register("gated", Gated)
    services.shutdown()
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False
    )
    assert done.stdout == "interrupted\n", done.stderr
    assert not running_services()


def test_a_job_that_a_service_starts_keeps_its_own_services(services: ServiceBase) -> None:
    class Launcher:
        def launch(self, source: str) -> str:
            done = subprocess.run(
                [sys.executable, "-c", source], capture_output=True, text=True, check=False
            )
            return done.stdout + done.stderr

    launcher = services.register("launcher", Launcher)
    source = """
import time
from services_core import get_services
from services_core.testing.samples import Counter
with get_services(backend="local", namespace="job") as services:
    counter = services.register("counter", Counter)
    time.sleep(1.0)  # five times the linger
    print(counter.add())
"""
    assert launcher.launch(source) == "1\n"


def test_an_owners_client_stays_as_long_as_its_process_and_no_longer(
    running_services: Running, start_python: StartPython, runtime_dir: Path
) -> None:
    owner = start_python("""
import sys
from services_core import get_services
from services_core.testing.samples import Server
services = get_services(backend="local", namespace="lease")
services.register("server", Server().start())
services.close()
print("ready", flush=True)
sys.stdin.readline()
""")
    time.sleep(1.0)  # five times the linger, in which nobody has the namespace open
    with get_services(backend="local", namespace="lease") as services:
        assert services.list() == ["server"]
        services.close()
    owner.kill()
    owner.wait()
    assert eventually(lambda: not running_services())
    assert eventually(lambda: {p.name for p in runtime_dir.iterdir()} <= {"key", "mutex"})


def test_a_service_that_ends_while_nobody_has_it_open_leaves_nothing(
    openers: list[subprocess.Popen[str]], running_services: Running, runtime_dir: Path
) -> None:
    process = start_opener(openers, '{"lifetime": "detached"}')
    process.kill()
    process.wait()
    (service,) = running_services()
    os.kill(service, signal.SIGTERM)
    assert eventually(lambda: {p.name for p in runtime_dir.iterdir()} <= {"key", "mutex"})
    assert eventually(lambda: not running_services())
