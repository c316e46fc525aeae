"""The command line shows what runs, and ends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from services_core import ServiceBase, ServiceStartError, get_services
from services_core.testing.observing import eventually
from services_core.testing.samples import Counter, Gated
from services_local.cli import main

StartPython = Callable[[str], subprocess.Popen[str]]


def test_it_lists_namespaces_and_their_services(
    services: ServiceBase, capsys: pytest.CaptureFixture[str], runtime_dir: Path
) -> None:
    counter = services.register("counter", Counter, max_restarts=1)
    other = get_services(backend="local", namespace="other")
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runtime_dir"] == str(runtime_dir)
    (namespace,) = found["namespaces"]  # one in which nothing was registered has no name yet
    assert namespace["name"] == "tests"
    assert os.getpid() in namespace["openers"]
    (service,) = namespace["services"]
    started = service.pop("started")
    assert started.startswith("20")
    assert service == {
        "name": "counter",
        "class": "services_core.testing.samples.Counter",
        "pid": counter.pid(),
        "state": "running",
        "restarts": 0,
        "detached": False,
    }
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert f"tests (open in {os.getpid()})" in printed
    assert "NAME" in printed
    assert "running" in printed
    other.close()


def test_it_shows_and_ends_what_is_under_construction(
    services: ServiceBase, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    entered = tmp_path / "entered"
    with ThreadPoolExecutor(1) as pool:
        registering = pool.submit(
            services.register, "gated", Gated, str(tmp_path / "never"), str(entered)
        )
        assert eventually(entered.exists)
        assert main(["list", "--json"]) == 0
        (namespace,) = json.loads(capsys.readouterr().out)["namespaces"]
        (service,) = namespace["services"]
        assert (service["name"], service["state"]) == ("gated", "starting")
        assert service["pid"] is not None
        assert main(["reset", "tests"]) == 0
        assert capsys.readouterr().out == "tests: ended gated\n"
        with pytest.raises(ServiceStartError):
            registering.result(30)


def test_it_ends_what_nobody_has_open(
    start_python: StartPython, capsys: pytest.CaptureFixture[str], runtime_dir: Path, tmp_path: Path
) -> None:
    registrar = start_python(f"""
import sys
from services_core import get_services
from services_core.testing.samples import Counter
for namespace in ("one", "two"):
    services = get_services(backend="local", namespace=namespace)
    services.register(namespace, Counter, mark={str(tmp_path)!r} + "/" + namespace,
                      lifetime="detached")
print("ready", flush=True)
sys.stdin.read()
""")
    registrar.kill()
    registrar.wait()
    assert main(["list"]) == 0
    assert "one (nobody has it open)" in capsys.readouterr().out
    assert main(["reset", "three"]) == 1
    assert "there: 'one', 'two'" in capsys.readouterr().err
    assert main(["reset", "--all"]) == 0
    assert capsys.readouterr().out == "one: ended one\ntwo: ended two\n"
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text() == "closed"
    assert main(["list"]) == 0
    assert capsys.readouterr().out == f"no services in {runtime_dir}\n"
    assert main(["reset", "--all"]) == 0


def test_looking_makes_no_directory(
    capsys: pytest.CaptureFixture[str], runtime_dir: Path, tmp_path: Path
) -> None:
    absent = runtime_dir / "absent"
    assert main(["list", "--runtime-dir", str(absent)]) == 0
    assert capsys.readouterr().out == f"no services in {absent}\n"
    assert main(["reset", "x", "--runtime-dir", str(absent)]) == 1
    assert not absent.exists()
    tmp_path.chmod(0o755)
    assert main(["list", "--runtime-dir", str(tmp_path)]) == 1
    assert "others may enter" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["reset"], ["reset", "x", "--all"], ["lsit"]])
def test_what_makes_no_sense_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_its_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, word in (([], "SERVICES_LOCAL_DIR"), (["list"], "JSON"), (["reset"], "close()")):
        with pytest.raises(SystemExit) as caught:
            main([*arguments, "--help"])
        assert caught.value.code == 0
        assert word in capsys.readouterr().out


def test_it_is_a_command_and_a_module(services: ServiceBase) -> None:
    (script,) = entry_points(group="console_scripts", name="services-local")
    assert script.load() is main
    listed = subprocess.run(
        [sys.executable, "-m", "services_local", "list"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert listed.stdout.startswith("no services")
