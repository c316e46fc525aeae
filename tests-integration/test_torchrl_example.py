"""The example of TorchRL's ChatEnv runs from end to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "llm" / "torchrl_chat_env.py"


def run(*arguments: str) -> str:
    # An environment of its own, also for Ray.
    dropped = ("RAY_ADDRESS", "PYTHONPYCACHEPREFIX")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_environments_of_torchrl_add_up_turn_by_turn(backend: str) -> None:
    output = run("--backend", backend, "--batch", "2", "3", "--turns", "3")
    assert "6 environments, 6 sessions on 4 interpreters" in output
    # The last one's number is 5.
    totals = ["I begin with 5.", "That makes 10.", "That makes 15."]
    lines = [line for line in output.splitlines() if line in totals]
    assert lines == totals


def test_it_teaches_its_options() -> None:
    output = run("--help")
    for word in ("--backend", "--batch", "--turns"):
        assert word in output
