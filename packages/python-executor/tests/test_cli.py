"""The command line: what all commands have in common."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

from python_executor.cli import main


def test_it_is_a_command_and_a_module() -> None:
    (script,) = entry_points(group="console_scripts", name="python-executor")
    assert script.load() is main
    done = subprocess.run(
        [sys.executable, "-m", "python_executor", "--version"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == f"python-executor {version('python-executor')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["rnu"],
        ["run"],
        ["run", "-", "--timeout", "0"],
        ["run", "-", "--timeout", "soon"],
        ["run", "-", "--memory", "much"],
        ["run", "-", "--sandbox", "on"],
        ["doctor", "--pool-size", "0"],
        ["bench", "--rounds", "-1"],
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "run program.py"),
        (["run"], "--preload numpy,pandas"),
        (["doctor"], "strict"),
        (["bench"], "subprocess.run"),
    ],
)
def test_its_help_teaches(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert word in printed
    assert "examples:" in printed


@pytest.mark.parametrize("command", [f"run {__file__}", "bench"])
def test_an_error_of_ours_is_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--preload", "no_such_module"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("python-executor: the fork server")
    assert line.endswith("No module named 'no_such_module'")
