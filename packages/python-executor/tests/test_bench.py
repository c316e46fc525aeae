"""``python-executor bench``: three ways to run the same program, in turns."""

from __future__ import annotations

import json

import pytest

from python_executor.cli import main


def test_it_measures_with_and_without_the_sandbox_and_a_new_interpreter(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", "--rounds", "1", "--json", "--preload", "decimal"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["program"] == "import decimal\nprint(1 + 1)"
    figures = report["figures"]
    assert [row["name"] for row in figures] == ["sandbox auto", "sandbox off", "subprocess.run"]
    for row in figures:
        assert 0 < row["p50"] <= row["p95"]
        assert row["rate"] > 0


def test_its_table_compares(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[-3:-1]] == [["sandbox", "auto"], ["sandbox", "off"]]
    assert all("x faster" in line for line in lines[-3:-1])
    assert lines[-1].split()[0] == "subprocess.run"
