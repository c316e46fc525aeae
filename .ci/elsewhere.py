"""A folder that an ordinary user can enter, with what it takes to run a package's tests there.

The checkout and the interpreters may lie below folders that root alone may enter.

::

    folder/ ── python/      a copy of the interpreter, if the user can't run the original
            ├─ venv/        made by the caller
            ├─ workspace/   the root pyproject.toml and the package
            ├─ data/        the data that tests read
            ├─ home/        the user's own: HOME and working directory
            └─ tmp/         the user's own: TMPDIR
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confine import UID
from workspace import ROOT, Package

# What no test needs of an interpreter's library; site-packages may be large.
_LEFT_OUT = ("site-packages", "test", "tests", "idlelib", "turtledemo", "ensurepip", "config-*")


@dataclass(frozen=True)
class Elsewhere:
    """The folder, and what is in it.

    Attributes:
        folder: Its path.
    """

    folder: Path

    @property
    def venv(self) -> Path:
        """Where the virtual environment goes."""
        return self.folder / "venv"

    @property
    def home(self) -> Path:
        """The user's HOME."""
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the user's commands; nothing of ours is to be found in them."""
        kept = {name: os.environ[name] for name in ("LANG", "TZ") if name in os.environ}
        # Some processors need a choice of kernels: numpy computes wrong results otherwise.
        kept |= {name: os.environ[name] for name in os.environ if name.startswith("OPENBLAS_")}
        return kept | {
            "HOME": str(self.home),
            "PATH": f"{self.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "SHARED_DATA": str(self.folder / "data"),
            "TMPDIR": str(self.folder / "tmp"),
        }

    def copy_package(self, package: Package) -> Path:
        """Copy a package with its tests, as a workspace of its own; returns its new folder."""
        workspace = self.folder / "workspace"
        target = workspace / package.path.relative_to(ROOT)
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".venv")
        shutil.copytree(package.path, target, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", workspace)
        return target

    def copy_data(self, data: Path) -> None:
        """Copy the files of a folder of data."""
        shutil.copytree(data, self.folder / "data", copy_function=shutil.copyfile)

    def python_for_all(self, executable: Path) -> Path:
        """Return an interpreter that everybody can run: the given one, its base, or a copy.

        Args:
            executable: An interpreter that we can run; it may be that of a virtual environment.

        Raises:
            RuntimeError: Even the copy is no full interpreter of the same build.
        """
        base, version = _ask([executable], "os.path.realpath(sys.executable)", "sys.version")
        as_user = [sys.executable, str(Path(__file__).with_name("confine.py")), "--user"]
        for find in (Path, self.copy_python):
            candidate = find(base)
            with contextlib.suppress(subprocess.CalledProcessError):
                if _ask([*as_user, candidate], "sys.version") == [version]:
                    return candidate
        raise RuntimeError(f"Neither {base} nor a copy of it runs as user {UID}.")

    def copy_python(self, executable: str) -> Path:
        """Copy an interpreter and its standard library; returns the copy's executable.

        CPython looks for its modules beside its executable first, and a shared library of its own
        is made to be found there too, so the copy needs no settings.

        Args:
            executable: No symbolic link, and not that of a virtual environment.
        """
        original = Path(executable)
        source, target = original.parent.parent, self.folder / "python"
        copy = target / "bin" / original.name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(_relocated(original.read_bytes(), source / "lib"))
        copy.chmod(0o755)
        (target / "lib").mkdir()
        for library in source.glob("lib/libpython*.so*"):
            shutil.copy(library, target / "lib", follow_symlinks=False)
        standard = Path("lib", original.name)  # python3.11 of bin and of lib
        # The caches come along: the user can't write any, and each start would compile anew.
        shutil.copytree(
            source / standard, target / standard, ignore=shutil.ignore_patterns(*_LEFT_OUT)
        )
        return copy

    def open_up(self, uid: int = UID) -> None:
        """Let everybody read all, and give the user what is its own.

        Args:
            uid: The user. Only root can give something to another than itself.
        """
        for folder, _, files in os.walk(self.folder):
            for name in (".", *files):
                path = f"{folder}/{name}"
                if not os.path.islink(path):  # noqa: PTH114
                    mode = os.stat(path).st_mode & 0o777  # noqa: PTH116
                    executable = 0o111 if mode & 0o100 else 0
                    os.chmod(path, mode | 0o444 | executable)  # noqa: PTH101
        for name, mode in (("home", 0o700), ("tmp", 0o755)):
            own = self.folder / name
            own.mkdir(mode=mode, exist_ok=True)
            if os.getuid() == 0:
                os.chown(own, uid, uid)


def _ask(interpreter: Sequence[str | Path], *expressions: str) -> list[str]:
    """Ask an interpreter; it also has to have the extension modules that tests use."""
    lines = "; ".join(f"print({expression!s})" for expression in expressions)
    code = f"import ctypes, os, sqlite3, ssl, sys, zlib; {lines}"
    command = [*interpreter, "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 our own words
    return done.stdout.splitlines()


def _relocated(program: bytes, libraries: Path) -> bytes:
    """Point an ELF program's search path for libraries (ld.so(8), RUNPATH) beside itself."""
    old, new = b"\0%s\0" % os.fsencode(libraries), b"\0$ORIGIN/../lib\0"
    # In place, so not longer: a shorter path is that of a folder that everybody can enter, or of
    # one that the check of the copy tells.
    return program.replace(old, new.ljust(len(old), b"\0")) if len(new) <= len(old) else program


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """Make the folder; it is removed at the end, with what the user left in it."""
    # Not TMPDIR, which may be a folder of root's own too.
    folder = Path(tempfile.mkdtemp(prefix="elsewhere-", dir="/tmp"))
    try:
        folder.chmod(0o755)
        yield Elsewhere(folder)
    finally:
        shutil.rmtree(folder)
