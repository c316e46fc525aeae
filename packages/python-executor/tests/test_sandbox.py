"""The sandbox's layers on this machine, its policies, and what happens where a layer is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from python_executor import (
    InvalidArgumentError,
    InvalidArgumentTypeError,
    PersistentPythonProcess,
    PythonExecutorService,
    SandboxPolicy,
    SandboxUnavailableError,
)
from python_executor.sandbox import NAMESPACES_VARIABLE, REQUIRED

MIB = 1024 * 1024


@pytest.fixture(params=["namespaces", "none"])
def namespaces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With namespaces where they are permitted, and without."""
    monkeypatch.setenv(NAMESPACES_VARIABLE, "1" if request.param == "namespaces" else "0")
    return str(request.param)


@pytest.fixture
def strict(namespaces: str) -> Iterator[PythonExecutorService]:
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox="strict") as executor:
        yield executor


def layers(executor: PythonExecutorService) -> dict[str, bool]:
    return {report["layer"]: report["on"] for report in executor.info()["sandbox"]["layers"]}


def test_every_layer_is_reported(strict: PythonExecutorService, namespaces: str) -> None:
    assert strict.info()["sandbox"]["mode"] == "strict"
    on = layers(strict)
    assert set(on) == {*REQUIRED, "namespaces", "users", "environment", "kill"}
    assert all(on[name] for name in (*REQUIRED, "environment", "kill"))
    if namespaces == "none":
        assert not on["namespaces"]
    assert all(report["detail"] for report in strict.info()["sandbox"]["layers"])


def test_a_pool_without_a_sandbox_says_so() -> None:
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox="off") as executor:
        assert executor.info()["sandbox"]["mode"] == "off"
        assert not layers(executor)
        assert executor.execute("open('/etc/passwd').read(4)")["success"]


# What a program finds in /proc/self/status; the status must be granted to be read.
STATUS = "dict(line.split(':', 1) for line in open('/proc/self/status'))"


def test_a_program_has_no_privileges_and_two_filters() -> None:
    policy = SandboxPolicy(read=["/proc"], strict=True)
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        value = executor.execute(
            f"s = {STATUS}\n"
            "[s[n].strip() for n in ('CapPrm', 'CapEff', 'CapInh', 'CapAmb', 'NoNewPrivs', "
            "'Seccomp', 'Seccomp_filters')]"
        )["value"]
    none = "0" * 16
    # A container has filters of its own.
    filters = int(status_of("self")["Seccomp_filters"]) + 2
    assert value == str([none] * 4 + ["1", "2", str(filters)])


def status_of(pid: int | str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_the_servers_of_slots_have_no_privileges_either(strict: PythonExecutorService) -> None:
    assert strict.execute("1")["success"]
    for pid in strict.info()["slot_servers"]:
        status = status_of(pid)
        assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert int(status["Seccomp_filters"]) == int(status_of("self")["Seccomp_filters"]) + 1


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have pools in a directory that other users can enter, as pytest's can't be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield
        assert not list(Path(folder).iterdir())


@pytest.mark.usefixtures("reachable")
def test_each_slot_is_a_user_where_root_may_and_others_can_read(
    namespaces: str,
    alive: Callable[[int], bool],
    until: Callable[[Callable[[], bool]], None],
) -> None:
    system_python = "/usr/bin/python3"
    # In containers root has other capabilities, but not CAP_SYS_PTRACE.
    watches = int(status_of("self")["CapEff"], 16) >> 19 & 1
    if os.geteuid() != 0 or not watches or not Path(system_python).exists():
        with PythonExecutorService(pool_size=1, timeout=30.0) as executor:
            assert not layers(executor)["users"]
        return
    with PythonExecutorService(
        pool_size=2, timeout=30.0, python=system_python, sandbox="strict"
    ) as executor:
        assert layers(executor)["users"]
        code = "import os\nopen('mine', 'w').close()\nos.getuid(), os.getgroups()"
        values = {executor.execute(code)["value"] for _ in range(6)}
        assert len(values) == 2
        assert not any(value is None or value.startswith("(0,") for value in values)
        # The root can still end and replace them.
        servers = executor.info()["slot_servers"]
        for pid in servers:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in servers))
        assert all(result["success"] for result in executor.execute_batch([code] * 6))
        assert executor.execute("while True: pass", timeout=0.3)["status"] == "timeout"
        assert executor.execute("1 + 1")["value"] == "2"


NESTED = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
for _ in range(16):
    handled = ctypes.c_uint64(1)  # execution, which is then granted for everything
    ruleset = libc.syscall(444, ctypes.byref(handled), ctypes.c_size_t(8), 0)
    class Rule(ctypes.Structure):
        _pack_ = 1
        _layout_ = "ms"
        _fields_ = [("access", ctypes.c_uint64), ("fd", ctypes.c_int)]
    rule = Rule(1, os.open("/", os.O_PATH))
    assert libc.syscall(445, ruleset, 1, ctypes.byref(rule), 0) == 0
    assert libc.syscall(446, ruleset, 0) == 0
from python_executor import PythonExecutorService, SandboxUnavailableError
try:
    PythonExecutorService(1, sandbox="strict")
except SandboxUnavailableError as error:
    print(sorted(error.missing), error.missing["landlock"])
with PythonExecutorService(1) as executor:
    on = {r["layer"]: r["on"] for r in executor.info()["sandbox"]["layers"]}
    print(on["landlock"], on["seccomp"], executor.execute("1 + 1")["value"])
"""


def test_strict_refuses_a_machine_that_lacks_a_layer(temporary: Path) -> None:
    # Sixteen domains are the most that stack, so that a seventeenth can't be had.
    done = subprocess.run(
        [sys.executable, "-c", NESTED],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert done.returncode == 0, done.stderr
    strict, auto = done.stdout.splitlines()
    assert strict.startswith("['landlock']")
    assert "Argument list too long" in strict
    assert auto == "False True 2"


def test_the_error_names_layers_and_the_way_out() -> None:
    error = SandboxUnavailableError({"seccomp": "the kernel has none"})
    assert "seccomp: the kernel has none" in str(error)
    assert "python-executor doctor" in str(error)


@pytest.mark.parametrize("sandbox", ["of", "", "AUTO"])
def test_an_unknown_mode_is_refused(sandbox: str) -> None:
    with pytest.raises(InvalidArgumentError, match="'auto', 'strict', 'off' or a SandboxPolicy"):
        PythonExecutorService(1, sandbox=sandbox)  # type: ignore[arg-type]


def test_something_else_than_a_mode_is_refused() -> None:
    with pytest.raises(InvalidArgumentTypeError, match="sandbox"):
        PersistentPythonProcess(sandbox=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"memory": 1}, InvalidArgumentError),
        ({"memory": 1.5e9}, InvalidArgumentTypeError),
        ({"disk": -1}, InvalidArgumentError),
        ({"open_files": 3}, InvalidArgumentError),
        ({"processes": True}, InvalidArgumentTypeError),
        ({"network": 1}, InvalidArgumentTypeError),
        ({"read": "/usr"}, InvalidArgumentTypeError),
        ({"read": ["/no/such/path"]}, InvalidArgumentError),
        ({"write": [3]}, InvalidArgumentTypeError),
    ],
)
def test_an_impossible_policy_is_refused(wrong: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(wrong))):
        SandboxPolicy(**wrong)  # type: ignore[arg-type]


def test_presets_can_be_changed() -> None:
    assert SandboxPolicy.tight(network=True).network
    assert SandboxPolicy.tight(memory=512 * MIB).memory == 512 * MIB
    assert SandboxPolicy.with_processes().processes > 0
    assert SandboxPolicy.with_network().network


def test_granted_paths_are_granted_and_no_others(tmp_path: Path, namespaces: str) -> None:
    given, target, other = (tmp_path / name for name in ("given", "target", "other"))
    for folder in (given, target, other):
        folder.mkdir()
        (folder / "file").write_text("text")
    single = other / "single"
    single.write_text("alone")
    policy = SandboxPolicy(read=[given, single], write=[target], strict=True)
    code = f"""
import os
found = []
for path in {[str(p / "file") for p in (given, target, other)] + [str(single)]!r}:
    for mode in "r", "r+":
        try:
            open(path, mode).close()
            found.append(mode)
        except PermissionError:
            found.append("-")
        except OSError as error:  # read-only mounts
            found.append("-" if error.errno == 30 else error.errno)
open({str(target / "new")!r}, "w").write("kept")
found
"""
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        result = executor.execute(code)
    assert result["value"] == str(["r", "-", "r", "r+", "-", "-", "r", "-"])
    assert (target / "new").read_text() == "kept"


def test_a_memory_error_can_be_told_about(strict: PythonExecutorService) -> None:
    code = "def grow():\n    x = []\n    while True:\n        x.append(bytearray(1 << 20))\ngrow()"
    policy = SandboxPolicy.tight(memory=64 * MIB)
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        for _ in range(3):
            result = executor.execute(code)
            assert result["status"] == "memory"
            assert result["error"] is not None
            assert "grow" in result["error"]["traceback"] or not result["error"]["traceback"]
        assert executor.execute("1 + 1")["value"] == "2"


def test_a_program_has_as_many_threads_as_memory_allows(strict: PythonExecutorService) -> None:
    code = """
import threading
barrier = threading.Barrier(101)
threads = [threading.Thread(target=barrier.wait) for _ in range(100)]
for thread in threads:
    thread.start()
barrier.wait()
threading.active_count() > 0
"""
    policy = SandboxPolicy.tight(strict=True)
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        assert executor.execute(code)["value"] == "True"


def test_too_many_threads_end_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("python_executor._watchdog.TASKS", 20)
    code = """
import threading
event = threading.Event()
for _ in range(40):
    threading.Thread(target=event.wait).start()
event.wait()
"""
    with PythonExecutorService(pool_size=1, timeout=30.0) as executor:
        result = executor.execute(code)
        assert result["status"] == "memory"
        assert result["error"] is not None
        assert result["error"]["type"] == "TaskLimitError"
        assert executor.execute("1 + 1")["value"] == "2"


def test_too_many_processes_end_a_program() -> None:
    policy = SandboxPolicy(processes=3, strict=True)
    code = """
import os, time
for _ in range({}):
    if os.fork() == 0:
        time.sleep(100)
time.sleep({})
"""
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        result = executor.execute(code.format(8, 100))
        assert result["error"] is not None
        assert result["error"]["type"] == "TaskLimitError"
        assert executor.execute(code.format(3, 0.2))["success"]


def test_processor_time_is_bounded_though_the_host_is_stuck() -> None:
    policy = SandboxPolicy(strict=True)
    code = "import resource; resource.getrlimit(resource.RLIMIT_CPU)"
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        value = executor.execute(code, timeout=7.0)["value"]
    cores = len(os.sched_getaffinity(0))
    assert value == str((7 * cores + 5,) * 2)


def test_a_process_that_is_used_again_has_no_bound_of_processor_time() -> None:
    code = "import resource; resource.getrlimit(resource.RLIMIT_CPU)[0]"
    with PythonExecutorService(pool_size=1, timeout=30.0, isolation="namespace") as executor:
        assert {executor.execute(code)["value"] for _ in range(3)} == {"-1"}


def test_no_file_is_made_that_runs_as_its_owner(tmp_path: Path, namespaces: str) -> None:
    code = f"""
import ctypes, os, stat
folder = {str(tmp_path)!r}
found = []
for name, make in dict(
    open=lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o6755)),
    mknod=lambda p: os.mknod(p, 0o104755),
    group=lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, 0o2755)),
    creat=lambda p: ctypes.CDLL(None).creat(p.encode(), 0o4755),
).items():
    try:
        make(f"{{folder}}/{{name}}")
    except PermissionError:
        pass
os.close(os.open(f"{{folder}}/plain", os.O_CREAT | os.O_WRONLY, 0o755))
sorted(os.listdir(folder))
"""
    policy = SandboxPolicy(write=[tmp_path], strict=True)
    with PythonExecutorService(pool_size=1, timeout=30.0, sandbox=policy) as executor:
        assert executor.execute(code)["value"] == "['plain']"


def test_times_and_modes_of_files_are_taken_and_dropped(strict: PythonExecutorService) -> None:
    code = """
import os, pathlib, shutil
pathlib.Path("a").touch()
pathlib.Path("a").touch()
open("a", "w").write("x")
shutil.copy2("a", "b")
os.chmod("b", 0)
shutil.copytree(".", "c", ignore=lambda *_: ["c"])
sorted(os.listdir()), open("b").read(), sorted(os.listdir("c"))
"""
    assert strict.execute(code)["value"] == "(['a', 'b', 'c'], 'x', ['a', 'b'])"


def test_a_persistent_process_is_kept_in_as_well() -> None:
    with PersistentPythonProcess(timeout=30.0, sandbox="strict") as process:
        for _ in range(3):
            error = process.execute("open('/etc/shadow')")["error"]
            assert error is not None
            assert error["type"] == "PermissionError"
