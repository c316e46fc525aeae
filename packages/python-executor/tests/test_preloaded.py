"""Modules that are preloaded may have changed what interpreters use, and hold descriptors."""

from __future__ import annotations

import site
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from python_executor import Execution, PythonExecutorService
from python_executor.sandbox import SandboxMode

PythonWith = Callable[[str], str]


@pytest.fixture
def python_with(tmp_path: Path) -> PythonWith:
    """Make an interpreter of its own that can import ``ours``, beside what this one can."""

    def make(source: str) -> str:
        folder = tmp_path / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "ours.py").write_text(source)
        (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
        for path in (tmp_path, *tmp_path.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o055)  # a slot may be another user
        return str(folder / "bin" / "python")

    return make


@pytest.mark.parametrize(
    "change",
    [
        "builtins.print = lambda *a, **k: sys.stdout.write('printed')",
        "def refuse(*a, **k): raise RuntimeError\nbuiltins.print = builtins.compile = refuse",
        "sys.stdout.write('begun ')",
    ],
)
def test_nothing_is_printed_for_a_program(python_with: PythonWith, change: str) -> None:
    python = python_with(f"import builtins, sys\n{change}")
    with PythonExecutorService(pool_size=1, preload=["ours"], python=python) as executor:
        result = executor.execute("x = 1")
    assert (result["stdout"], result["stderr"]) == ("", "")


def test_a_hook_that_takes_the_wakeup_back_is_no_failure(python_with: PythonWith) -> None:
    # As asyncio's does since Python 3.12.
    source = (
        "import os, signal\nos.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))"
    )
    python = python_with(source)
    with PythonExecutorService(pool_size=2, preload=["ours", "asyncio"], python=python) as executor:
        assert [r["value"] for r in executor.execute_batch(["6 * 7"] * 4)] == ["42"] * 4


def test_another_bit_generator_is_seeded_anew(python_with: PythonWith) -> None:
    python = python_with("import numpy.random as r\nr.set_bit_generator(r.PCG64(1))")
    with PythonExecutorService(pool_size=2, preload=["ours"], python=python) as executor:
        # Of normal numbers two are drawn at a time, and one is kept.
        for draw in ("rand()", "normal()"):
            code = f"import numpy.random as r\nr.get_state(False)['bit_generator'], r.{draw}"
            programs = [Execution(code, seed=seed) for seed in (None, None, None, None, 1, 1)]
            values = [str(result["value"]) for result in executor.execute_batch(programs)]
            assert all(value.startswith("('PCG64', ") for value in values)
            assert len(set(values)) == 5
            assert values[-1] == values[-2]


@pytest.mark.parametrize("sandbox", ["auto", "off"])
@pytest.mark.parametrize("number", [243, *range(246, 257), 300])
def test_descriptors_that_are_held_stay_out(
    python_with: PythonWith, sandbox: SandboxMode, number: int
) -> None:
    python = python_with(
        f"import os\nheld = []\nwhile not held or held[-1] < {number}:\n"
        "    held.append(os.open('/dev/null', os.O_RDONLY))"
    )
    code = """
import os
def is_open(number):
    try: os.fstat(number)
    except OSError: return False
    return True
[number for number in range(400) if is_open(number)]
"""
    with PythonExecutorService(
        pool_size=1, preload=["ours"], python=python, sandbox=sandbox
    ) as executor:
        assert executor.execute(code)["value"] == "[0, 1, 2, 255]"
