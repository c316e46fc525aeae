"""What the sandbox refuses fails at once and says what was refused; libraries manage without."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from python_executor import ExecutionResult, PythonExecutorService

Run = Callable[..., ExecutionResult]

REFUSED = {
    "os.fork": "import os; os.fork()",
    "subprocess": "import subprocess; subprocess.run(['true'])",
    "multiprocessing": "import multiprocessing; multiprocessing.Process(target=print).start()",
    "spawned": (
        "import multiprocessing\nmultiprocessing.get_context('spawn').Process(target=print).start()"
    ),
    "a pool of processes": (
        "import concurrent.futures as c\nc.ProcessPoolExecutor(2).submit(abs, -1).result()"
    ),
    "a socket": "import socket; socket.create_connection(('127.0.0.1', 9), timeout=9)",
    "a download": "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')",
    "memory to share": "import mmap; mmap.mmap(-1, 4096)",
    "a file of the host": "open('/etc/shadow')",
    "a folder outside": "import os; os.mkdir('/usr/outside')",
}


@pytest.mark.parametrize("code", REFUSED.values(), ids=REFUSED)
def test_it_fails_with_a_clear_error(bare: PythonExecutorService, code: str) -> None:
    result = bare.execute(code)
    assert result["status"] == "error"
    assert result["error"] is not None
    told = result["error"]["type"] + result["error"]["message"]
    words = ("PermissionError", "not permitted", "Permission denied", "Read-only file system")
    assert any(word in told for word in words)


def test_joblib_manages_without_processes(run: Run) -> None:
    code = """
import warnings
warnings.simplefilter("ignore")
import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
numbers = joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(abs)(-i) for i in range(3))
assert numbers == [0, 1, 2]
x, y = load_iris(return_X_y=True)
assert cross_val_score(LogisticRegression(max_iter=500), x, y, n_jobs=2).mean() > 0.9
"""
    run(code)
