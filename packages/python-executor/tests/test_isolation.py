"""Every program starts from the same state, whatever others did, and sees little of the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from python_executor import PythonExecutorService

DIRT = """
import builtins, os, random, sys
builtins.dirt = True
sys.modules["dirt"] = sys
sys.path.append("/dirt")
os.environ["DIRT"] = "1"
open("dirt.txt", "w").close()
os.makedirs("a/b/c")
os.chdir("a")
os.umask(0o000)
random.seed(1)
import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)
"""
LOOK = """
import builtins, os, signal, sys
[
    hasattr(builtins, "dirt"), "dirt" in sys.modules, "/dirt" in sys.path, "DIRT" in os.environ,
    os.listdir("."), os.umask(0o022) == 0, "LOOK" in globals(), signal.getsignal(signal.SIGINT) is
    signal.SIG_IGN,
]
"""


def test_nothing_of_a_program_is_left_for_the_next() -> None:
    with PythonExecutorService(pool_size=1, timeout=30.0) as executor:
        clean = executor.execute(LOOK)["value"]
        assert clean == "[False, False, False, False, [], False, False, False]"
        for _ in range(3):
            assert executor.execute(DIRT)["success"]
            assert executor.execute(LOOK)["value"] == clean


def test_each_program_has_a_fresh_directory_which_is_removed(
    executor: PythonExecutorService,
) -> None:
    code = (
        "import os, tempfile\nassert os.listdir('.') == []\n"
        "assert os.stat('.').st_mode == 0o40700\n"
        "open('x', 'w').close()\nos.chmod('.', 0o777)\n"
        "assert os.environ['HOME'] == os.environ['TMPDIR'] == os.getcwd()\n"
        "assert tempfile.gettempdir() == os.getcwd()\n"
        "assert os.path.expanduser('~') == os.getcwd()\nprint(os.getcwd())"
    )
    results = [executor.execute(code) for _ in range(4)]
    assert [result["status"] for result in results] == ["ok"] * 4
    folders = {result["stdout"].strip() for result in results}
    # More are never there at the same time than programs run.
    assert len(folders) == 2
    executor.close()
    assert not any(Path(folder).exists() for folder in folders)


def test_deep_and_locked_directories_are_removed(executor: PythonExecutorService) -> None:
    code = """
import os
for i in range(1000):
    os.mkdir("d"); os.chdir("d"); open("f", "w").close()
os.chmod("f", 0)
os.symlink("/", "root")
os.chmod(".", 0)
"""
    results = executor.execute_batch([code] * 4)
    assert [result["status"] for result in results] == ["ok"] * 4


def test_the_hosts_secrets_are_not_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", "/secret")
    monkeypatch.setenv("LC_NUMERIC", "C")
    monkeypatch.setenv("TZ", "Europe/Vienna")
    with PythonExecutorService(pool_size=1, timeout=30.0) as executor:
        names = executor.execute("import os; print(*sorted(os.environ))")["stdout"].split()
        zone = executor.execute("import os; os.environ['TZ'], os.environ['OMP_NUM_THREADS']")
        path = executor.execute("import sys; '/secret' in sys.path")
    allowed = {"HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "TZDIR"}
    fixed = {"ARROW_DEFAULT_MEMORY_POOL", "MKL_NUM_THREADS", "MPLBACKEND", "OMP_NUM_THREADS"}
    fixed |= {"JOBLIB_MULTIPROCESSING", "OPENBLAS_NUM_THREADS"}
    assert {name for name in names if not name.startswith("LC_")} <= allowed | fixed
    assert "LC_NUMERIC" in names
    assert zone["value"] == "('Europe/Vienna', '1')"
    assert path["value"] == "False"


def test_a_program_has_no_descriptors_but_its_own(trusting: PythonExecutorService) -> None:
    with Path(os.devnull).open() as host:
        os.set_inheritable(host.fileno(), True)
        listed = trusting.execute("import os\nsorted(map(int, os.listdir('/proc/self/fd')))")
    assert listed["value"] == "[0, 1, 2, 3, 255]"  # 3 is the listing itself


def test_two_programs_draw_different_random_numbers() -> None:
    draw = (
        "import random, numpy\n"
        "random.random(), float(numpy.random.rand()), float(numpy.random.default_rng().random())"
    )
    with PythonExecutorService(pool_size=2, timeout=30.0, preload=["numpy"]) as executor:
        values = [result["value"] for result in executor.execute_batch([draw] * 6)]
        loaded = executor.execute("import sys; 'numpy' in sys.modules")["value"]
    assert loaded == "True"
    assert None not in values
    assert len(set(values)) == 6


def test_a_program_is_single_threaded_and_leads_a_session(executor: PythonExecutorService) -> None:
    code = (
        "import os, threading\n"
        "threading.active_count(), os.getsid(0) == os.getpid() == os.getpgrp()"
    )
    assert executor.execute(code)["value"] == "(1, True)"
