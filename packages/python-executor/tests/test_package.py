"""The package's table of contents, and its examples."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import python_executor
import python_executor.persistent
import python_executor.results
import python_executor.service

README = Path(__file__).parents[1] / "README.md"


def test_all_is_exact_and_sorted() -> None:
    public = {
        name
        for name, value in vars(python_executor).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(python_executor.__all__) == public
    assert list(python_executor.__all__) == sorted(python_executor.__all__)


def test_the_package_is_typed() -> None:
    assert files("python_executor").joinpath("py.typed").is_file()


def test_no_parameter_is_named_as_an_option_of_the_registry() -> None:
    options = {
        "num_cpus", "num_gpus", "memory", "max_concurrency", "max_restarts", "replicas", "lifetime",
        "start_timeout", "close_timeout", "name", "namespace", "get_if_exists",
    }  # fmt: skip
    parameters = inspect.signature(python_executor.PythonExecutorService).parameters
    assert not options & set(parameters)


def test_importing_it_starts_nothing_and_imports_no_sibling() -> None:
    code = (
        "import sys, threading, python_executor\n"
        "print(threading.active_count(), [m for m in sys.modules if m.startswith('services_')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 []\n"


@pytest.mark.parametrize(
    "module",
    [python_executor.persistent, python_executor.results, python_executor.service],
    ids=lambda module: module.__name__,
)
def test_examples_of_docstrings_run(module: object) -> None:
    assert inspect.ismodule(module)
    outcome = doctest.testmod(module, extraglobs=dict(vars(python_executor)))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_snippets_of_the_readme_run(capfd: pytest.CaptureFixture[str]) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len(snippets) >= 3
    for number, snippet in enumerate(snippets):
        exec(compile(snippet, f"README snippet {number}", "exec"), {"__name__": "readme"})
