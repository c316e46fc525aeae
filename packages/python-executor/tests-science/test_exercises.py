"""What is done with preloaded libraries ahead of programs works with the versions installed."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from python_executor import ExecutionResult
from python_executor._child.exercises import EXERCISES

Run = Callable[[str], ExecutionResult]


@pytest.mark.parametrize("name", sorted(set(EXERCISES) - {"torch"}))
def test_an_exercise_has_no_failing_line(run: Run, name: str) -> None:
    run(EXERCISES[name])


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="torch is installed for 3.11 alone")
def test_the_exercise_of_torch_has_no_failing_line(run_torch: Run) -> None:
    run_torch(EXERCISES["torch"])
