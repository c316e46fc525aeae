"""What attacks go for: this process's own state, a process to hurt, files to read and to spoil."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from ._programs import NUMBERS

ROOTS_HOME = pwd.getpwuid(0).pw_dir
SECRET = "the-secret-of-the-host"
# Where everybody may write: pytest's own folders are closed to other users, which would be the
# file's mode at work and not the sandbox.
SHARED = os.environ.get("TMPDIR", "/tmp")

_LIMITS = {name: getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
_PR_GET_DUMPABLE, _PR_GET_PDEATHSIG, _PR_GET_TIMERSLACK = 3, 2, 30


def state_of_host() -> dict[str, object]:
    """What a program could change about this process or leave in the kernel."""
    libc = ctypes.CDLL(None)
    death = ctypes.c_int()
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(death), 0, 0, 0)
    return {
        **state_of(os.getpid()),
        "dumpable": libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0),
        "timer slack": libc.prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0),
        "death": death.value,
        **{f"SysV {name}": _objects(name) for name in ("shm", "sem", "msg")},
    }


def _objects(kind: str) -> list[str]:
    """Key and id of every System V object of a kind; the other columns change by use."""
    path = Path(f"/proc/sysvipc/{kind}")
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    return [" ".join(line.split()[:2]) for line in lines]


def state_of(pid: int) -> dict[str, object]:
    """What one process can change about another."""
    process = Path(f"/proc/{pid}")
    return {
        "limits": {name: resource.prlimit(pid, number) for name, number in _LIMITS.items()},
        "priority": os.getpriority(os.PRIO_PROCESS, pid),
        "scheduler": (os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority),
        "affinity": os.sched_getaffinity(pid),
        "input and output": ctypes.CDLL(None).syscall(NUMBERS["ioprio_get"], 1, pid),
        "cwd": str((process / "cwd").readlink()),
        "name": (process / "comm").read_text(),
        "oom": (process / "oom_score_adj").read_text(),
        "session": os.getsid(pid),
        "group": os.getpgid(pid),
    }


_VICTIM = """
import signal, sys
secret = sys.argv[1]
everything = signal.valid_signals()
signal.pthread_sigmask(signal.SIG_BLOCK, everything)
print("ready", flush=True)
while True:
    print(signal.sigwaitinfo(everything).si_signo, flush=True)
"""


class Victim:
    """A process of this user outside the pool, to be attacked in the host's place.

    It blocks every signal and tells which ones come. Its environment and its memory hold
    ``SECRET``.
    """

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _VICTIM, SECRET],
            stdout=subprocess.PIPE,
            text=True,
            env={"VICTIMS_SECRET": SECRET},
            cwd="/",
            start_new_session=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._said = self._process.stdout
        assert self._said.readline() == "ready\n"
        self._state = state_of(self.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()

    def assert_unharmed(self) -> None:
        """Fail if it got a signal, ended, stopped, or is otherwise than it was."""
        assert self._process.poll() is None
        # The highest pending signal is taken last (signal(7)): all that came before is told first.
        os.kill(self.pid, signal.SIGRTMAX)
        assert self._said.readline() == f"{int(signal.SIGRTMAX)}\n"
        assert state_of(self.pid) == self._state
        assert Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "SR"


class Hoard:
    """A folder of the host's where modes forbid nothing: only the sandbox protects it.

    Attributes:
        path: the folder. It holds ``secret`` (with ``SECRET``), ``own`` (a second file) and
            ``folder``, with ``inner`` in it.
    """

    def __enter__(self) -> Self:
        self.path = Path(tempfile.mkdtemp(prefix="hoard-", dir=SHARED))
        (self.path / "secret").write_text(SECRET)
        (self.path / "own").write_text("own")
        (self.path / "folder").mkdir()
        (self.path / "folder" / "inner").write_text(SECRET)
        for path in (self.path, *self.path.rglob("*")):
            path.chmod(0o777)
        self._state = self._look()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)

    def assert_unharmed(self) -> None:
        """Fail if anything in it is otherwise than it was, metadata included."""
        assert self._look() == self._state

    def _look(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in (self.path, *sorted(self.path.rglob("*"))):
            stat = path.lstat()
            found[path.name] = (
                *(stat.st_ino, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_nlink, stat.st_size),
                *(stat.st_mtime_ns, stat.st_ctime_ns),
                os.listxattr(path, follow_symlinks=False),
            )
        return found
