"""The main job runs from end to end, plays real replies, and leaves nothing behind."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workers import descendants

from services_core.testing.observing import eventually, is_running

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "llm" / "python_executor_service.py"

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever outlives the example becomes a child of this process, and fails the test."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    before = descendants(os.getpid())
    yield

    def left() -> set[int]:
        return {pid for pid in descendants(os.getpid()) - before if is_running(pid)}

    assert eventually(lambda: not left()), left()
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def start(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "COLUMNS": "120"}
    # The example's own Ray, and not that of this run.
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        [sys.executable, "-u", str(EXAMPLE), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What it printed; it must have succeeded."""
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, f"{output}\n{errors}"
    return output


def figures(output: str) -> dict[str, str]:
    """The rows of its table."""
    cells = [line.strip("│ ").split("│") for line in output.splitlines() if line.startswith("│")]
    return {name.strip(): value.strip() for name, value in cells}


def test_128_environments_play_turns_on_32_interpreters(backend: str) -> None:
    table = figures(finish(start("--backend", backend, "--turns", "2", "--timeout", "1")))
    assert (table["environments"], table["interpreters"]) == ("128", "32")
    assert (table["replies"], table["executions"]) == ("256", "256")
    # Two of sixteen replies have no program and two have two; one crashes, one never ends.
    assert (table["failed: crashed"], table["failed: timeout"]) == ("16", "16")
    assert (table["succeeded"], table["failed: error"]) == ("160", "64")
    assert float(table["times as much"].replace(",", "")) > 1


def test_with_sessions_every_environment_that_ran_something_has_one() -> None:
    # Once is enough: sessions on each backend have tests of their own.
    options = ("--persistent", "--envs", "16", "--interpreters", "8", "--turns", "1")
    table = figures(finish(start("--backend", "inline", *options, "--timeout", "1")))
    assert (table["environments"], table["interpreters"]) == ("16", "8")
    assert (table["replies"], table["executions"], table["sessions"]) == ("16", "16", "14")
    assert (table["failed: crashed"], table["failed: timeout"]) == ("1", "1")


def test_real_replies_play_and_every_recorded_output_agrees(
    backend: str, shared_data: Path, tmp_path: Path
) -> None:
    rows = (shared_data / "tora_gsm8k_replies.jsonl").read_text().splitlines()
    # The first ones, and those whose programs import sympy or fail as they did for their authors.
    told = ("sympy", "Error: ")
    special = [row for row in rows[140:] if any(word in json.loads(row)["reply"] for word in told)]
    part = tmp_path / "replies.jsonl"
    part.write_text("\n".join([*rows[:140], *special]))
    assert len(special) >= 13

    output = finish(start("--backend", backend, "--replies", str(part)))
    table = figures(output)
    played = 140 + len(special)
    assert table["replies"] == table["executions"] == f"{played}"
    assert table["recorded outputs"] == f"{played} of {played} agree (100.00%)", output
    # None crashed, timed out or was refused; the two that failed had failed before.
    assert table["failed: error"] == "2"
    assert [name for name in table if name.startswith("failed")] == ["failed: error"]


def test_an_interrupt_ends_all_that_was_started(backend: str) -> None:
    process = start("--backend", backend, "--turns", "1000")
    assert process.stdout is not None
    printed = list(itertools.takewhile(lambda line: "interpreters in" not in line, process.stdout))
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, f"{printed}{output}\n{errors}"
    assert "Interrupted" in output


def test_it_teaches_its_options() -> None:
    output = finish(start("--help"))
    for word in ("--backend", "--interpreters", "--envs", "--turns", "--replies", "```output"):
        assert word in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "nowhere"], "unknown backend 'nowhere'"),
        (["--replies", "/no/such/file"], "/no/such/file"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_line(arguments: list[str], said: str) -> None:
    process = start(*arguments)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said in output
    assert "Traceback" not in output + errors


@pytest.mark.parametrize("option", ["--interpreters", "--envs", "--turns", "--timeout"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_number_that_is_not_positive_is_refused(option: str, value: str) -> None:
    process = start(option, value)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"argument {option}" in errors


def test_a_file_without_replies_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "replies.jsonl"
    file.write_text('{"reply": "fine"}\n{"text": "no reply"}\n')
    process = start("--replies", str(file))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "line 2" in output
