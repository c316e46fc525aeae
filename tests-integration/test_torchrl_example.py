"""The example of TorchRL runs from end to end; in this process, which has imported TorchRL."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "llm" / "torchrl_chat_env.py"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *arguments])
    runpy.run_path(str(EXAMPLE), run_name="__main__")


def test_environments_of_torchrl_add_up_turn_by_turn(
    backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--backend", backend, "--batch", "2", "3", "--turns", "3")
    output = capsys.readouterr().out
    assert "6 environments, 6 sessions on 4 interpreters" in output
    # The last one's number is 5.
    totals = ["I begin with 5.", "That makes 10.", "That makes 15."]
    assert [line for line in output.splitlines() if line in totals] == totals


def test_it_teaches_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "--help")
    output = capsys.readouterr().out
    for word in ("--backend", "--batch", "--turns"):
        assert word in output
