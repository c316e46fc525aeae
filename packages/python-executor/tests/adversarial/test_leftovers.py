"""What a program leaves behind for those that come after it in its slot, or for the servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from python_executor import PythonExecutorService
from python_executor.sandbox import NAMESPACES_VARIABLE


@pytest.fixture(scope="module", params=["namespaces", "none"])
def executor(request: pytest.FixtureRequest) -> Iterator[PythonExecutorService]:
    """One slot, so that every program comes after the one before it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(NAMESPACES_VARIABLE, "1" if request.param == "namespaces" else "0")
        with PythonExecutorService(pool_size=1, timeout=30.0, sandbox="strict") as executor:
            yield executor


LOOK = """
import fcntl, os
def locked():
    try: fcntl.flock(os.open("/dev/null", os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError: return True
    return False
def files(path): return [n for n in sorted(os.listdir(path)) if n != os.path.basename(os.getcwd())]
files("."), files(".."), fcntl.fcntl(0, fcntl.F_GETFL) & os.O_NONBLOCK, locked()
"""
PRISTINE = "([], [], 0, False)"

LEFT = {
    "a file beside its directory": "open('../left', 'w').write('secret')",
    "a link beside its directory": "os.symlink('/', '../left')",
    "folders beside its directory": "os.makedirs('../left/a/b'); os.makedirs('../left/c')",
    "its directory elsewhere": "os.rename(here, '../elsewhere'); open('x', 'w').close()",
    "a file in place of its directory": "os.rename(here, '../x'); open(here, 'w').close()",
    "a link in place of its directory": "os.rename(here, '../x'); os.symlink('/', here)",
    "no directory": "os.rmdir(here)",
    "the directories of those to come": "for n in range(99): os.makedirs(f'../{n}/x', exist_ok=True)",
    "files in their place": (
        "for n in range(99):\n    if not os.path.exists(f'../{n}'): open(f'../{n}', 'w').close()"
    ),
    # What servers once named directories that they were to remove.
    "the names that servers use": (
        "for p in range(os.getppid() - 99, os.getppid() + 1):\n"
        "    for folder in '.', '..': os.makedirs(f'{folder}/.moved-{p}-1/x/y')"
    ),
    "flags of descriptor 0": "fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK)",
    "a lock on descriptor 0": "fcntl.flock(0, fcntl.LOCK_EX)",
}
SETUP = "import fcntl, os\nhere = os.getcwd()\n"


# What of a directory is listed comes in portions: a name of more than 188 characters isn't in the
# first that is asked for.
LONG_NAMES = {
    f"{kind} with a name of {length}": code.format(length=length)
    for kind, code in (
        ("files", "for c in '.xyz': open('../' + c * {length}, 'w').close()"),
        ("a folder", "os.mkdir('../' + 'x' * {length})"),
        (
            "a hidden folder with a file",
            "os.mkdir('../' + '.' * {length}); open('../' + '.' * {length} + '/a', 'w').close()",
        ),
    )
    for length in (3, 4, 5, 188, 189, 200, 255)
}


@pytest.mark.parametrize("name", LONG_NAMES)
def test_the_next_program_finds_no_long_names(executor: PythonExecutorService, name: str) -> None:
    assert executor.execute(f"import os\n{LONG_NAMES[name]}")["status"] == "ok"
    assert executor.execute(LOOK)["value"] == PRISTINE


@pytest.mark.parametrize("name", LEFT)
def test_the_next_program_finds_nothing(executor: PythonExecutorService, name: str) -> None:
    restarts = executor.stats()["restarts"]
    result = executor.execute(SETUP + LEFT[name])
    assert result["status"] == "ok", result
    for _ in range(2):
        assert executor.execute(LOOK)["value"] == PRISTINE
    assert executor.stats()["restarts"] == restarts
    assert executor.stats()["root_restarts"] == 0


@pytest.mark.load
def test_all_of_the_disk_is_there_for_the_next_program(executor: PythonExecutorService) -> None:
    fill = "open('../left', 'wb').write(bytes(200 << 20)); import time; time.sleep(0.2)"
    for _ in range(3):
        assert executor.execute(fill)["status"] == "ok"


def test_files_beside_the_directory_count_as_well(executor: PythonExecutorService) -> None:
    code = """
import os, time
os.rename(os.getcwd(), "../elsewhere")
for n in range(40): open(f"../{n}x", "wb").write(bytes(10 << 20))
time.sleep(30)
"""
    result = executor.execute(code)
    assert result["error"] is not None
    full = result["error"]["message"].startswith("[Errno 28]")  # in a file system of its own
    assert full or result["error"]["type"] == "DiskLimitError"
