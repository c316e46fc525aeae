"""The examples of chat environments run from end to end, and say what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "llm"


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_environments_share_a_service(backend: str) -> None:
    told = run("shared_service.py", "--backend", backend, "--environments", "20")
    assert told == (
        "Code block 1 executed successfully:\n361\n20 environments, 4 interpreters, 1 call\n"
    )


def test_two_services_serve_one_environment(backend: str) -> None:
    assert run("fast_and_heavy.py", "--backend", backend).splitlines() == [
        "0 tool 45",
        "1 heavy 500000000",
        "2 tool quick",
        "2 heavy heavy",
        "3 tool MemoryError",
    ]


def test_environments_have_processes_of_their_own() -> None:
    assert run("local_persistent.py", "--environments", "3").splitlines() == [
        "kept: Code block 1 executed successfully:",
        "3",
        "after a reset: NameError: name 'n' is not defined",
        "the others: Code block 1 executed successfully:",
        "3",
    ]


def test_programs_have_fresh_processes() -> None:
    told = run("local_temporary.py")
    assert "42" in told
    assert "NameError: name 'x' is not defined" in told
    assert "TimeoutError: The program ran longer than 1 s and was ended." in told
    assert told.endswith("-- environment 3\n")


def test_the_choice_falls_on_processes_without_ray() -> None:
    assert run("conditional_choice.py", "--environments", "17").splitlines() == [
        "chosen: PythonInterpreter(persistent=True, timeout=30.0)",
        "Code block 1 executed successfully:",
        "16",
    ]


@pytest.mark.ray
def test_the_choice_falls_on_ray_where_it_pays() -> None:
    many = run("conditional_choice.py", "--ray", "--environments", "17")
    assert "services='ray'" in many
    assert many.endswith("executed successfully:\n16\n")
    few = run("conditional_choice.py", "--ray", "--environments", "16")
    assert "services='ray'" not in few


@pytest.mark.parametrize(
    "name",
    ["conditional_choice", "fast_and_heavy", "local_persistent", "local_temporary"],
)
def test_each_teaches_its_options(name: str) -> None:
    assert f"examples/llm/{name}.py" in run(f"{name}.py", "--help")
