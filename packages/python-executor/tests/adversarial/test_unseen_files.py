"""What the host looks at from outside may be hidden from it, taken away, or moved under its feet."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from python_executor import Execution, PythonExecutorService, SandboxPolicy

from ._arena import VARIANTS, Arena, until
from ._host import SHARED

MIB = 2**20


@pytest.fixture
def bare() -> Iterator[Arena]:
    """No namespaces, as in most containers: the watchdog bounds the disk."""
    with Arena(namespaces=False) as arena:
        yield arena


@pytest.fixture
def family() -> Iterator[Arena]:
    with Arena(
        namespaces=False, sandbox=SandboxPolicy(processes=4, disk=64 * MIB, strict=True)
    ) as arena:
        yield arena


STEAL = """
import os, threading, time
stolen = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
def steal():
    while True:
        try: os.read(stolen, 1000)
        except BlockingIOError: pass
for _ in range(2): threading.Thread(target=steal, daemon=True).start()
end = time.monotonic() + 0.4
while time.monotonic() < end: os.write(1, b"x" * 10)
"""


@pytest.mark.parametrize("namespaces", VARIANTS)
def test_what_was_written_to_the_host_can_not_be_read_again(namespaces: bool) -> None:
    with Arena(namespaces=namespaces) as arena:
        result = arena.attack(STEAL)
    assert result["error"] is not None
    assert result["error"]["type"] == "PermissionError"


def test_output_that_is_stolen_is_nobodys_trouble() -> None:
    # Without a sandbox nothing keeps root from opening the pipe again.
    with PythonExecutorService(pool_size=2, sandbox="off") as executor:
        for _ in range(3):
            results = executor.execute_batch(["6 * 7", STEAL, "6 * 7"])
            assert [result["value"] for result in results] == ["42", None, "42"]


def test_mappings_with_endless_names_end_the_program_and_need_little_memory(bare: Arena) -> None:
    code = """
import ctypes, os, time
libc.mmap.argtypes = [ctypes.c_void_p] + 4 * [ctypes.c_size_t] + [ctypes.c_long]
for _ in range(100):
    os.mkdir("n" * 255)
    os.chdir("n" * 255)
file = os.open("f", os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 1 << 20)
os.unlink("f")
for n in range(1000): libc.mmap(None, 4096, 1, 1, file, 8192 * (n % 2))
time.sleep(1000)
"""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = bare.attack(code, timeout=10)
    assert (result["status"], result["duration"] < 5) == ("output", True), result
    assert result["error"] is not None
    assert "hides" in result["error"]["message"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_a_file_that_is_sent_leaves_no_pages_behind(bare: Arena) -> None:
    code = """
import os, shutil, socket
open("a", "wb").write(b"x" * 100_000)
file = os.open("a", os.O_RDONLY)
r, w = os.pipe()
shutil.copyfile("a", "b")
one, other = socket.socketpair()
sent = one.sendfile(open("a", "rb"), count=1000)
told(os.sendfile, w, file, 0, 100), os.path.getsize("b"), sent, len(other.recv(2000))
"""
    assert bare.seen(code) == ("ENOSYS", 100_000, 1000, 1000)


def test_space_is_not_taken_before_anybody_has_looked(bare: Arena) -> None:
    code = """
import os
file = os.open("a", os.O_CREAT | os.O_RDWR)
refused = call("fallocate", file, 0, 0, 1 << 20)
os.posix_fallocate(file, 0, 1 << 20)
refused, os.fstat(file).st_size
"""
    assert bare.seen(code) == ("ENOTSUP", MIB)
    fill = "import os\nfor n in range(99): os.posix_fallocate(os.open(str(n), 66), 0, 250 << 20)"
    result = bare.attack(fill)
    assert result["status"] == "output", result


def test_a_thread_has_no_descriptors_of_its_own(family: Arena) -> None:
    vm, fs, files, sighand, thread = 0x100, 0x200, 0x400, 0x800, 0x10000
    flags = [vm | fs | sighand | thread, vm | sighand | thread, files | thread, thread]
    assert family.seen(f"[call('clone', flags, 0, 0, 0, 0) for flags in {flags}]") == ["EPERM"] * 4
    code = "import subprocess, threading\nt = threading.Thread(target=print); t.start(); t.join()"
    assert family.attack(f"{code}\nsubprocess.run(['true'], check=True)")["status"] == "ok"


def test_a_process_that_may_not_be_looked_at_is_ended(family: Arena) -> None:
    code = """
import os, shutil, subprocess
binary = os.open("copy", os.O_CREAT | os.O_WRONLY, 0o111)
os.write(binary, open(shutil.which("sleep"), "rb").read())
os.close(binary)
subprocess.run(["./copy", "0.5"], check=True)
"""
    result = family.attack(code, timeout=20)
    # Root sees them all.
    assert result["status"] == ("ok" if os.geteuid() == 0 else "output"), result


@pytest.mark.parametrize("namespaces", VARIANTS)
def test_servers_remove_nothing_that_was_moved_from_a_grant(namespaces: bool) -> None:
    with tempfile.TemporaryDirectory(dir=SHARED) as folder:
        grant = Path(folder, "grant")
        for path in (Path(folder), grant, grant / "movable", grant / "movable" / "locked"):
            path.mkdir(exist_ok=True)
            path.chmod(0o777)
        (grant / "movable" / "locked" / "kept").write_text("kept")
        (grant / "movable" / "locked").chmod(0o555)
        (grant / "file").write_text("file")
        policy = SandboxPolicy(write=[grant], strict=True)
        code = f"""
import errno, os, shutil
os.chdir({str(grant)!r})
home = os.environ["HOME"]
moves = [told(os.rename, "movable", home + where) for where in ("/x", "/../x")]
shutil.move("file", home)
moves, os.listdir(home), sorted(os.listdir())
"""
        with Arena(namespaces=namespaces, sandbox=policy) as arena:
            assert arena.seen(code) == (["EXDEV", "EXDEV"], ["file"], ["movable"])
        assert (grant / "movable" / "locked" / "kept").read_text() == "kept"
        (grant / "movable" / "locked").chmod(0o777)


@pytest.mark.load
def test_a_large_directory_is_removed_while_others_are_served(bare: Arena) -> None:
    code = """
import os, signal
for n in range(5000): os.makedirs(f"{n}/x")
print(os.getppid(), flush=True)
signal.pause()
"""
    executor = bare.executor
    folder = executor.info()["directory"]
    assert folder is not None
    with ThreadPoolExecutor(1) as caller:
        execution = Execution(code, 60, execution_id="large")
        future = caller.submit(executor.execute_batch, [execution])
        pids = bare.servers
        until(lambda: any(list(Path(folder).glob("*/home/4999"))))
        (number,) = {int(path.parts[-3]) for path in Path(folder).glob("*/home/4999")}
        os.kill(pids[number], signal.SIGKILL)
        assert future.result()[0]["status"] == "crashed"
    assert [result["value"] for result in executor.execute_batch(["6 * 7"] * 4)] == ["42"] * 4
    until(lambda: {path.name for path in Path(folder).iterdir()} == {"0", "1"})
    bare.note()
    bare.assert_unharmed()
