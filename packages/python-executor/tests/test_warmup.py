"""What the root does before the first fork, so that no program has to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from python_executor import PythonExecutorService
from python_executor._child import exercises, hugepages

GATHERED = """
import hugepages
kept = [bytes([n % 251]) * 5000 for n in range(5000)]
hugepages.gather()
assert all(kept[n] == bytes([n % 251]) * 5000 for n in range(5000))
"""


def test_an_exercise_goes_on_after_a_line_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    failures = exercises.run("import gone_module\nx = 1\n1 / 0\nprint(x)")
    assert [type(failure) for failure in failures] == [ModuleNotFoundError, ZeroDivisionError]
    assert capsys.readouterr().out == "1\n"


def test_imported_modules_alone_are_exercised_and_nobody_hears_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = "import sys\nsys.exercised = '{0}'\nprint('{0}')"
    samples = {"sys": stamp.format("sys"), "gone_module": stamp.format("gone_module")}
    monkeypatch.setattr(exercises, "EXERCISES", samples)
    monkeypatch.setattr(sys, "exercised", "nothing", raising=False)
    exercises.exercise()
    assert vars(sys)["exercised"] == "sys"
    assert capsys.readouterr().out == ""


def test_memory_holds_the_same_after_it_was_gathered_in_huge_pages() -> None:
    folder = str(Path(hugepages.__file__).parent)
    subprocess.run([sys.executable, "-c", GATHERED], env={"PYTHONPATH": folder}, check=True)


def test_a_preloaded_library_was_used_before_the_first_program() -> None:
    with PythonExecutorService(pool_size=1, preload=["numpy"]) as executor:
        result = executor.execute("import sys; 'numpy.random.mtrand' in sys.modules")
    assert result["value"] == "True"
