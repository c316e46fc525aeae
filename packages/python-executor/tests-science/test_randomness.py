"""No two programs draw the same numbers, although they are forked from one process."""

from __future__ import annotations

from collections.abc import Callable

from python_executor import ExecutionResult

Run = Callable[..., ExecutionResult]


DRAW = """
import random
import numpy as np
import scipy.stats
from sklearn.utils import check_random_state
(
    random.random(), float(np.random.rand()), float(np.random.default_rng().random()),
    float(scipy.stats.norm.rvs()), float(check_random_state(None).rand()),
)
"""


def test_two_programs_draw_different_numbers(run: Run) -> None:
    drawn = [eval(str(run(DRAW)["value"])) for _ in range(4)]
    assert len({number for numbers in drawn for number in numbers}) == 20


def test_a_seed_makes_a_program_repeatable(run: Run) -> None:
    code = "import numpy as np; np.random.seed(1); float(np.random.rand())"
    assert run(code)["value"] == run(code)["value"]


def test_programs_with_a_seed_draw_the_same_numbers_but_those_of_the_system(run: Run) -> None:
    drawn = [eval(str(run(DRAW, seed=3)["value"])) for _ in range(2)]
    assert [one == other for one, other in zip(*drawn, strict=True)] == [
        True, True, False, True, True,
    ]  # fmt: skip
