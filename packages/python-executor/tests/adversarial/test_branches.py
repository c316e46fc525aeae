"""Sessions that go for what their server does with the directories of branches."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from python_executor import PythonExecutorService, SandboxPolicy, SessionCopyError
from python_executor.sandbox import NAMESPACES_VARIABLE

# The source of branches learns where they are, from what its server hands to them, and exchanges
# the directory of one for a link, whenever its server opens the outer one to change something.
HOSTILE = """
import ctypes, os, sys, time
session = sys.modules["_python_executor_child.session"]
homes = []
original = session._hear
def hear():
    reply = original()
    if reply[1]: homes.append(reply[1])
    return reply
session._hear = hear
rename = ctypes.CDLL(None, use_errno=True).renameat2
top = os.path.dirname(os.getcwd())

def swap(target, elsewhere, seconds):
    os.symlink(elsewhere, "link")
    inner, outer = (top + "/home/link").encode(), (top + "/l").encode()
    end = time.monotonic() + seconds
    moved = False
    while time.monotonic() < end:
        for _ in range(200):
            moved = moved or rename(-100, inner, -100, outer, 0) == 0
            if moved and rename(-100, target.encode(), -100, outer, 2) == 0:
                return os.path.islink(target)
    return False
"""


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[PythonExecutorService]:
    """Without namespaces, where directories of the host's can be named."""
    monkeypatch.setenv(NAMESPACES_VARIABLE, "0")
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox="auto") as pool:
        yield pool


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory of the host's, where any user may do anything."""
    folder = tmp_path / "elsewhere"
    (folder / "home").mkdir(parents=True)
    (folder / "home" / "secret").write_text("secret")
    for path in (*tmp_path.parents, tmp_path):
        if path.is_relative_to(tmp_path.parent.parent):
            path.chmod(path.stat().st_mode | 0o111)
    for path in (folder, folder / "home", folder / "home" / "secret"):
        path.chmod(0o777)
    return folder


def tree(folder: Path) -> dict[str, int]:
    paths = (folder, *folder.rglob("*"))
    return {str(path): stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_a_server_is_not_led_elsewhere_by_links(
    pool: PythonExecutorService, elsewhere: Path
) -> None:
    before = tree(elsewhere)
    assert pool.execute(HOSTILE, session="source")["status"] == "ok"
    siblings = [f"sibling-{number}" for number in range(16)]
    for name in ("target", *siblings):
        pool.fork_session("source", name)
    with ThreadPoolExecutor(1) as threads:
        code = f"swap(os.path.dirname(homes[0]), {str(elsewhere)!r}, 20)"
        spinning = threads.submit(pool.execute, code, session="source")
        for name in siblings:  # for each, the server opens the outer directory
            wait([spinning], 0.1)
            if not spinning.done():
                pool.close_session(name)
        assert spinning.result()["value"] == "True"
    for name in ("a", "b"):
        try:
            pool.fork_session("target", name)
        except SessionCopyError:
            continue
        read = pool.execute("open('secret').read()", session=name)
        assert read["status"] == "error", read
        pool.close_session(name)
    pool.close_session("target")
    assert pool.execute("1", session="source")["value"] == "1"
    pool.close_session("source")
    assert tree(elsewhere) == before


# A cell that says that it has ended, and goes on asking for copies without end.
GREEDY = """
import os, struct, sys, time
frames = sys.modules["_python_executor_child.frames"]
result = {"kind": "result", "returncode": 0, "value": None, "error": None, "truncated": False}
frames.write(255, frames.encode(result))
os.set_blocking(254, False)
end = time.monotonic() + 60
while time.monotonic() < end:
    for _ in range(3):
        try: os.write(254, struct.pack("=cQQ", b"c", 2 ** 40, 99))
        except BlockingIOError: pass
    time.sleep(0.01)
    try: os.read(254, 65536)
    except BlockingIOError: pass
"""


def test_a_session_that_asks_without_end_keeps_no_branch_from_its_own(
    pool: PythonExecutorService,
) -> None:
    pool.execute("x = 1", session="a")
    pool.fork_session("a", "b")
    assert pool.execute(GREEDY, session="a")["status"] == "ok"
    for number in range(1, 20):
        result = pool.execute("x += 1; x", session="b")
        assert (result["state"], result["value"]) == ("kept", str(number + 1))


def test_what_is_left_of_a_family_has_the_limits_that_it_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(NAMESPACES_VARIABLE, "0")
    policy = SandboxPolicy(disk=4 * 2**20)
    fill = (
        "import os, time\nfolder = os.path.dirname(os.getcwd())\n"
        "for n in range(100):\n"
        "    open(f'{folder}/{n}', 'wb').write(b'x' * 2**20); time.sleep(0.02)"
    )
    with PythonExecutorService(pool_size=1, timeout=30.0, checkpoint=False, sandbox=policy) as pool:
        for source, branch, stays in ("abs", "cdb"):
            pool.execute("import os", session=source)
            pool.fork_session(source, branch)
            kept = source if stays == "s" else branch
            pool.close_session(branch if stays == "s" else source)
            assert pool.execute("os._exit(1)", session=kept)["status"] == "crashed"
            assert pool.execute(fill, session=kept)["status"] == "output"
