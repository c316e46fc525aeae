"""``python-executor doctor``: what the fork server found, and what to do about what is missing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from python_executor import PythonExecutorService, _advice, _examination, _machine
from python_executor._machine import Machine
from python_executor.cli import main
from python_executor.sandbox import REQUIRED

MACHINE = Machine(
    system="Linux",
    kernel="6.8.0-45-generic",
    architecture="x86_64",
    user=1000,
    container=None,
    filtered=False,
    landlock=4,
    forbidding={},
    switched_off=False,
    shared_memory=True,
    descriptors=(1024, 4096),
    processes=None,
    memory=64 * 1024**3,
)

# Runs the command line where Landlock is refused, as by a container's profile.
WITHOUT_LANDLOCK = """
import errno, os, sys
from python_executor._child import linux, seccomp
from python_executor.cli import main

linux.refuse_privileges()
rules = seccomp.Filter(seccomp.ALLOW)
rules.answer(seccomp.refusal(errno.EPERM), "landlock_restrict_self")
seccomp.Installation(rules.assemble())()
sys.exit(main(sys.argv[1:]))
"""


def without_landlock(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_LANDLOCK, *arguments],
        input=code,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_tells_what_the_fork_server_found(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    with PythonExecutorService(pool_size=1) as executor:
        layers = executor.info()["sandbox"]["layers"]
    found = {check["name"]: check for check in report["layers"]}
    assert list(found) == [layer["layer"] for layer in layers]
    for layer in layers:
        check = found[layer["layer"]]
        assert check["status"] == ("ok" if layer["on"] else "missing")
        assert check["required"] == (layer["layer"] in REQUIRED)
        assert layer["on"] or check["advice"]
    strict = all(layer["on"] for layer in layers if layer["layer"] in REQUIRED)
    assert report["strict"] == strict
    assert status == (0 if strict else 1)
    assert report["python"] == sys.version.split()[0]
    assert {"bytecode", "threads", "descriptors", "processes", "memory"} == {
        check["name"] for check in report["others"]
    }


def test_its_text_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--pool-size", "3"])
    printed = capsys.readouterr().out
    for word in (*REQUIRED, "namespaces", "a pool of 3", "strict"):
        assert word in printed


def test_an_optional_layer_that_is_missing_is_no_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_EXECUTOR_NAMESPACES", "0")
    status = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    (check,) = [check for check in report["layers"] if check["name"] == "namespaces"]
    assert check["status"] == "missing"
    assert any("unset it" in step["what"] for step in check["advice"])
    assert status == (0 if report["strict"] else 1)


def test_a_required_layer_that_is_missing_is_a_failure() -> None:
    done = without_landlock("doctor", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    (check,) = [check for check in report["layers"] if check["name"] == "landlock"]
    assert (check["status"], check["required"], report["strict"]) == ("missing", True, False)
    assert any("landlock_restrict_self" in step["what"] for step in check["advice"])
    assert "Required and missing: landlock." in without_landlock("doctor").stdout


def test_run_says_so_too_and_strict_refuses() -> None:
    done = without_landlock("run", "-", code="print('ran')")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "the sandbox lacks landlock here" in done.stderr
    done = without_landlock("run", "-", "--sandbox", "strict", code="print('ran')")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("python-executor: this machine lacks what the sandbox needs")
    assert len(done.stderr.splitlines()) == 1


def test_a_pool_that_cannot_be_made_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--preload", "no_such_module"]) == 1
    printed = capsys.readouterr().out
    assert "No module named 'no_such_module'" in printed
    assert "No pool can be made so:" in printed


@pytest.mark.parametrize(
    ("layer", "changes", "said"),
    [
        ("landlock", {"kernel": "5.10.0", "landlock": -errno.ENOSYS}, "5.13"),
        ("landlock", {"landlock": -errno.EOPNOTSUPP}, "lsm=landlock,"),
        ("landlock", {"landlock": -errno.EPERM, "container": "Docker"}, "23.0"),
        ("landlock", {"landlock": -errno.ENOSYS}, "CONFIG_SECURITY_LANDLOCK"),
        ("landlock", {"container": "gVisor"}, "gVisor has no Landlock"),
        ("seccomp", {"architecture": "riscv64"}, "riscv64"),
        ("seccomp", {}, "CONFIG_SECCOMP_FILTER"),
        ("capabilities", {"filtered": True}, "capset"),
        ("limits", {}, "prlimit64"),
        ("namespaces", {"container": "Docker"}, "--security-opt apparmor=unconfined"),
        ("namespaces", {"container": "Podman"}, "podman run"),
        ("namespaces", {"container": "Kubernetes"}, "seccompProfile"),
        ("namespaces", {"kernel": "5.10.0"}, "5.12"),
        ("namespaces", {"filtered": True}, "RestrictNamespaces="),
        (
            "namespaces",
            {"forbidding": {"kernel.apparmor_restrict_unprivileged_userns": "1"}},
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            "namespaces",
            {"forbidding": {"user.max_user_namespaces": "0"}},
            "sysctl -w user.max_user_namespaces=15000",
        ),
        ("users", {}, "no need to become root"),
        ("users", {"user": 0}, "programs run as root"),
        ("platform", {"system": "Darwin"}, "Linux container"),
    ],
)
def test_the_advice_fits_the_machine(layer: str, changes: dict[str, Any], said: str) -> None:
    steps = _advice.for_missing(layer, replace(MACHINE, **changes))
    assert said in "\n".join(map(str, steps))


def test_every_layer_has_advice_when_it_is_missing() -> None:
    with PythonExecutorService(pool_size=1) as executor:
        layers = [layer["layer"] for layer in executor.info()["sandbox"]["layers"]]
    for layer in set(layers) - {"environment", "kill"}:
        assert _advice.for_missing(layer, MACHINE)


@pytest.mark.parametrize(
    ("layer", "detail", "changes", "said"),
    [
        ("landlock", "ABI 4", {}, "6.12"),
        ("landlock", "ABI 7", {"landlock": 7}, ""),
        ("namespaces", "network, IPC", {}, "/dev/shm"),
        ("namespaces", "network, mounts, IPC", {}, ""),
    ],
)
def test_what_is_on_may_be_better(
    layer: str, detail: str, changes: dict[str, Any], said: str
) -> None:
    steps = _advice.for_present(layer, detail, replace(MACHINE, **changes))
    assert bool(steps) == bool(said)
    assert said in "\n".join(map(str, steps))


def test_a_pool_takes_no_more_than_is_said() -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before, slots = descriptors(), 6
    with PythonExecutorService(pool_size=slots) as executor:
        executor.execute_batch(["1"] * slots * 3)
        taken = descriptors() - before
    assert taken <= _examination.DESCRIPTORS_A_SLOT * slots + 4
    assert taken > _examination.DESCRIPTORS_A_SLOT * slots / 2


def test_limits_that_are_too_low_for_a_pool_get_advice() -> None:
    low = replace(MACHINE, descriptors=(256, 256), processes=100, memory=1024**3)
    for check in (
        _examination._descriptors(low, 100),
        _examination._processes(low, 100),
        _examination._memory(low, 100, files=False),
    ):
        assert check.status == "advice"
        assert check.steps
    assert _examination._descriptors(MACHINE, 100).status == "ok"
    assert _examination._processes(MACHINE, 100).status == "ok"
    assert _examination._memory(MACHINE, 60, files=False).status == "ok"
    assert _examination._memory(MACHINE, 60, files=True).status == "advice"  # what they write too


def test_modules_without_bytecode_get_advice() -> None:
    check = _examination._bytecode("/venv/bin/python", "/venv/lib", 100, 3)
    assert check.status == "advice"
    commands = [step.command for step in check.steps]
    assert "/venv/bin/python -m compileall -q -j 0 /venv/lib" in commands
    assert _examination._bytecode("/venv/bin/python", "/venv/lib", 100, 95).status == "ok"


@contextmanager
def a_thread() -> Iterator[None]:
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    try:
        yield
    finally:
        go.set()
        thread.join()


def test_threads_of_the_fork_server_are_listed() -> None:
    before = _examination._threads_of(os.getpid())  # pytest may have its own
    with a_thread():
        names = _examination._threads_of(os.getpid())
    assert len(names) == len(before) + 1
    check = _examination._threads(["some_module"], names)
    assert check.status == "advice"
    assert names[0] in str(check.steps[0])


def test_what_other_users_cannot_read_is_found(tmp_path: Path) -> None:
    pytests_own = [p for p in tmp_path.parents if p.name.startswith(("pytest-", "popen-"))]
    for path in (tmp_path, *pytests_own):
        path.chmod(0o755)
    closed, lib = tmp_path / "closed", tmp_path / "closed" / "lib"
    lib.mkdir(parents=True, mode=0o755)
    lib.chmod(0o711)
    closed.chmod(0o755)
    assert str(closed) not in _examination.closed_to_others([str(closed)])
    assert _examination.closed_to_others([str(lib)])[str(lib)] == "r"
    closed.chmod(0o700)
    found = _examination.closed_to_others([str(lib), str(closed / "no-such-file")])
    assert (found[str(closed)], str(lib) in found) == ("x", False)
    said = _advice.for_users({str(closed): "x"})
    assert said[0].command == f"chmod o+x {closed}"
    assert "CAP_SETUID" in str(_advice.for_users({})[0])


def test_it_looks_at_this_machine() -> None:
    machine = _machine.look()
    assert machine.version >= (3, 0)
    assert str(machine.kernel) in str(machine)
    assert machine.memory is None or machine.memory > 0
