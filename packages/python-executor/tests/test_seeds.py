"""Equal seeds give equal numbers, whichever interpreter runs the program.

Torch is played by a few lines here; tests-science has it itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from python_executor import (
    Execution,
    InvalidArgumentError,
    PersistentPythonProcess,
    PythonExecutorService,
)
from python_executor._child import randomness
from python_executor.cli import main

Lend = Callable[..., AbstractContextManager[PythonExecutorService]]

STANDARD = "import random\nrandom.random(), random.gauss(0, 1), random.sample(range(99), 3)"
NUMPY = "import numpy as np\nfloat(np.random.rand()), float(np.random.normal())"
BOTH = f"{STANDARD.replace('random.random', 'first = random.random')}\n{NUMPY}, first"
TORCH = {
    "torch.py": b"""
class Generator:
    def manual_seed(self, seed):
        self.initial = seed

    def seed(self):
        self.initial = "the system's"

default_generator = Generator()
default_generator.initial = "its own"
"""
}
DRAWN_BY_TORCH = "import torch; torch.default_generator.initial"
GREATEST = 2**32 - 1


@pytest.fixture
def pool(lend: Lend) -> Iterator[PythonExecutorService]:
    """Programs import numpy themselves."""
    with lend(pool_size=2, timeout=30.0) as executor:
        yield executor


@pytest.fixture
def preloaded(lend: Lend) -> Iterator[PythonExecutorService]:
    """Programs find numpy imported."""
    with lend(pool_size=1, timeout=30.0, preload=["numpy"]) as executor:
        yield executor


@pytest.fixture(params=["imported", "preloaded"])
def shared(request: pytest.FixtureRequest) -> Iterator[PythonExecutorService]:
    """One process for all programs."""
    preload = ["numpy"] if request.param == "preloaded" else []
    with PythonExecutorService(1, 30.0, isolation="namespace", preload=preload) as executor:
        yield executor


def values(executor: PythonExecutorService, code: str, *seeds: int | None) -> list[str]:
    """What a program comes to with each seed."""
    results = executor.execute_batch([Execution(code, seed=seed) for seed in seeds])
    assert [result["stderr"] for result in results] == [""] * len(seeds)
    return [str(result["value"]) for result in results]


def test_numbers_of_a_seed_are_those_of_a_script(pool: PythonExecutorService) -> None:
    ours, theirs = random.Random(7), np.random.RandomState(7)
    expected = ours.random(), ours.gauss(0, 1), ours.sample(range(99), 3)
    assert pool.execute(STANDARD, seed=7)["value"] == repr(expected)
    assert pool.execute(NUMPY, seed=7)["value"] == repr((theirs.rand(), theirs.normal()))


@pytest.mark.parametrize("code", [STANDARD, NUMPY])
def test_equal_seeds_give_equal_numbers_and_others_do_not(
    pool: PythonExecutorService, code: str
) -> None:
    drawn = values(pool, code, *[0, 1, GREATEST] * 3)
    assert drawn == drawn[:3] * 3
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("code", [STANDARD, NUMPY])
def test_without_a_seed_numbers_differ(pool: PythonExecutorService, code: str) -> None:
    assert len(set(values(pool, code, *[1, None] * 3))) == 4


def test_numpy_draws_the_same_whoever_imports_it(
    pool: PythonExecutorService, preloaded: PythonExecutorService
) -> None:
    others = "from numpy.random.mtrand import RandomState\nimport numpy.random"
    codes = [NUMPY, f"{others}\n{NUMPY}", f"def f():\n    {NUMPY.replace(chr(10), '; ')}\n{NUMPY}"]
    drawn = {value for code in codes for e in (pool, preloaded) for value in values(e, code, 5, 5)}
    assert len(drawn) == 1


def test_a_seed_imports_nothing(pool: PythonExecutorService) -> None:
    code = "import sys; sorted(name for name in sys.modules if name[:5] in ('numpy', 'torch'))"
    assert pool.execute(code, seed=1)["value"] == "[]"


def test_torch_is_seeded_as_a_program_imports_it(pool: PythonExecutorService) -> None:
    drawn = [
        pool.execute(DRAWN_BY_TORCH, files=TORCH, seed=seed)["value"]
        for seed in (3, GREATEST, None)
    ]
    assert drawn == ["3", str(GREATEST), "'its own'"]


def test_modules_of_the_programs_own_need_no_generators(process: PersistentPythonProcess) -> None:
    files = {"torch.py": b"x = 1", "numpy/random.py": b"y = 2", "numpy/__init__.py": b""}
    for _ in range(2):
        result = process.execute(
            "import numpy.random, torch; torch.x, numpy.random.y", seed=1, files=files
        )
        assert (result["value"], result["stderr"]) == ("(1, 2)", "")


def test_a_program_in_a_used_process_draws_by_its_own_seed(shared: PythonExecutorService) -> None:
    first, *drawn = values(shared, BOTH, 1, 2, None, 1, None, None, 2, 1)
    assert (drawn[2], drawn[6], drawn[5]) == (first, first, drawn[0])
    assert len({first, *drawn}) == 5


def test_a_seed_is_not_for_what_a_later_program_imports(shared: PythonExecutorService) -> None:
    assert values(shared, "1", 1) == ["1"]
    drawn = {values(shared, NUMPY, None)[0], values(shared, NUMPY, 1)[0]}
    assert len(drawn) == 2
    result = shared.execute(DRAWN_BY_TORCH, files=TORCH, seed=1)
    assert result["value"] == "1"
    assert shared.execute(DRAWN_BY_TORCH)["value"] == '"the system\'s"'


def test_the_seed_of_a_cell_is_where_the_next_ones_go_on_from(
    process: PersistentPythonProcess,
) -> None:
    draw = "random.random(), float(np.random.rand())"
    process.execute("import random", seed=4)
    drawn = [process.execute(f"import numpy as np; {draw}")["value"] for _ in range(3)]
    again = [process.execute(draw, seed=4 if n == 0 else None)["value"] for n in range(3)]
    assert again == drawn
    assert len(set(drawn)) == 3


def test_cells_of_a_session_go_on_from_the_seed_of_one_of_them(pool: PythonExecutorService) -> None:
    drawn = [
        [pool.execute(STANDARD, session=name, seed=seed)["value"] for seed in (None, 4, None)]
        for name in ("one", "other")
    ]
    assert drawn[0][1:] == drawn[1][1:]
    assert len({value for values in drawn for value in values}) == 4


def test_a_number_drawn_in_advance_is_forgotten(process: PersistentPythonProcess) -> None:
    draw = "import random, numpy as np; random.gauss(0, 1), float(np.random.normal())"
    drawn = {process.execute(draw, seed=6)["value"] for _ in range(3)}
    assert len(drawn) == 1


def test_what_a_cell_patched_keeps_no_seed_from_the_next(process: PersistentPythonProcess) -> None:
    draw = "g.random()"
    process.execute("import random, builtins; g = random._inst")
    drawn = process.execute(draw, seed=8)["value"]
    process.execute("random.seed = random.Random.seed = builtins.isinstance = None")
    result = process.execute(draw, seed=8)
    assert (result["value"], result["stderr"]) == (drawn, "")


def test_what_can_not_be_seeded_is_complained_of_and_the_cell_runs(
    process: PersistentPythonProcess,
) -> None:
    process.execute("import numpy.random\ndef seed(_): raise SystemExit('no seed')")
    process.execute("numpy.random.seed = seed")
    result = process.execute("6 * 7", seed=1)
    assert (result["status"], result["value"]) == ("ok", "42")
    assert "SystemExit: no seed" in result["stderr"]


SET = "print({chr(n) for n in range(300)}, hash('text'))"


def test_the_order_of_sets_follows_the_hash_seed(pool: PythonExecutorService) -> None:
    orders = []
    for number in (0, 1, 1, GREATEST):
        with PythonExecutorService(1, 30.0, hash_seed=number) as executor:
            orders.append(executor.execute(SET)["stdout"])
            assert executor.info()["hash_seed"] == number
    orders.append(pool.execute(SET)["stdout"])
    assert pool.info()["hash_seed"] is None
    assert orders[1] == orders[2]
    assert len(set(orders)) == 4


def test_a_persistent_process_has_a_hash_seed_too() -> None:
    drawn = set()
    for _ in range(2):
        with PersistentPythonProcess(timeout=30.0, hash_seed=1) as process:
            drawn.add(process.execute(SET)["stdout"])
    assert len(drawn) == 1


def test_with_a_hash_seed_programs_see_nothing_else_of_it(
    pool: PythonExecutorService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    code = """
import os, sys
home = os.environ["HOME"]
names = {n for n in os.environ if n.startswith("PYTHON")}
[p.replace(home, "HOME") for p in sys.path], sys.flags.optimize, sys.flags.no_user_site, names
"""
    without = str(pool.execute(code)["value"])
    with PythonExecutorService(1, 30.0, hash_seed=1) as executor:
        assert executor.execute(code)["value"] == without.replace("set()", "{'PYTHONHASHSEED'}")


def test_a_persistent_process_refuses_bad_seeds(process: PersistentPythonProcess) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^seed must be between 0 and 4294967295"):
        process.execute("1", seed=-1)
    with pytest.raises(InvalidArgumentError, match=r"^hash_seed must be between 0 and 4294967295"):
        PersistentPythonProcess(hash_seed=2**32)


def test_the_command_line_takes_seeds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"import random\nprint(random.random())\n{SET}")
    printed = set()
    for _ in range(2):
        assert main(["run", "--seed", "1", "--hash-seed", "2", str(program)]) == 0
        printed.add(capfd.readouterr().out)
    assert len(printed) == 1
    assert printed.pop().startswith(f"{random.Random(1).random()}\n")
    assert main(["run", "--seed", "-1", str(program)]) == 2
    assert "seed must be between 0 and" in capfd.readouterr().err


def test_a_seed_of_none_takes_numbers_of_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomness, "_generator", random.Random())
    monkeypatch.setattr(randomness, "_seed", None)
    state = np.random.get_state()
    try:
        drawn = set()
        for seed in (1, None, None, 1):
            randomness.set_seed(seed)
            drawn.add((vars(randomness)["_generator"].random(), np.random.rand()))
    finally:
        np.random.set_state(state)
    assert len(drawn) == 3
