"""Where the processes of one machine meet: a private directory, and the paths in it.

    <root>/                     0700, checked with lstat at every start
        key                     0600, 32 random bytes: the first thing that a client sends
        mutex                   held shared while looking, exclusively while changing what is there
        <namespace>/
            name                the namespace in clear
            lease               held shared by every process that has the namespace open
            <service>.lock      held exclusively by the service for life
            <service>.json      what lookups need to know of it
            <service>.*.sock    where an incarnation of it listens
            <service>.log       what it prints

Names are hashed: a socket's path may have no more than 107 bytes (unix(7)), and a name any
character.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services_local.errors import RuntimeDirectoryError

ROOT_VARIABLE = "SERVICES_LOCAL_DIR"
KEY_BYTES = 32
_KEY_FILE = "key"
_MAX_SOCKET_PATH = 107
_INCARNATION_LENGTH = 16


@dataclass(frozen=True)
class ServicePaths:
    """The files of one service."""

    lock: Path
    guard: Path
    record: Path
    log: Path

    @classmethod
    def beside(cls, stem: Path) -> ServicePaths:
        """All of them, from a path in their directory without its suffix."""
        return cls(*(stem.with_suffix(f".{kind}") for kind in ("lock", "guard", "json", "log")))

    def socket(self, incarnation: str) -> Path:
        """Where one incarnation listens; a handle of it must never reach a later one."""
        return self.lock.with_suffix(f".{incarnation}.sock")

    def sockets(self) -> Iterator[Path]:
        """The sockets of all incarnations that have not been cleaned up."""
        return self.lock.parent.glob(f"{self.lock.stem}.*.sock")


class RuntimeDirectory:
    """The directory of this user's services on this machine.

    Args:
        root: The directory, as `open` has checked it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, root: str | None = None) -> RuntimeDirectory:
        """Make the directory if it isn't there, and check it.

        Args:
            root: The directory; by default `SERVICES_LOCAL_DIR`, or one in the temporary directory.

        Raises:
            RuntimeDirectoryError: It belongs to somebody else, others may enter it, it is a link,
                or its path is too long for a socket.
        """
        runtime = cls(chosen_root(root))
        _make_private(runtime.root)
        longest = len(os.fsencode(runtime.service("n", "s").socket("0" * _INCARNATION_LENGTH)))
        if longest > _MAX_SOCKET_PATH:
            raise RuntimeDirectoryError(
                str(runtime.root),
                f"too long: a socket's path there has {longest} bytes of {_MAX_SOCKET_PATH}",
            )
        return runtime

    @classmethod
    def of_socket(cls, path: Path) -> RuntimeDirectory:
        """The directory that a service's socket is in."""
        return cls(path.parent.parent)

    def namespaces(self) -> list[str]:
        """Names of the namespaces that somebody has open, or that have services; sorted."""
        found = []
        for path in self.root.glob("*/name"):
            with contextlib.suppress(FileNotFoundError):  # it has just been removed
                found.append(path.read_text("utf-8", "surrogatepass"))
        return sorted(found)

    def namespace(self, namespace: str) -> Path:
        """Directory of a namespace."""
        return self.root / _digest(namespace)

    def lease(self, namespace: str) -> Path:
        """File whose lock keeps a namespace alive."""
        return self.namespace(namespace) / "lease"

    def service(self, namespace: str, name: str) -> ServicePaths:
        """Files of a service."""
        return ServicePaths.beside(self.namespace(namespace) / _digest(name))

    def key(self) -> bytes:
        """The key of this directory, made by whoever asks first."""
        path = self.root / _KEY_FILE
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes()
        with self.mutex():
            if not path.exists():
                draft = path.with_suffix(".draft")
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(KEY_BYTES))
                draft.replace(path)
            return path.read_bytes()

    @contextlib.contextmanager
    def mutex(self, *, shared: bool = False) -> Iterator[None]:
        """Hold the directory's mutex; only ever for a few file operations.

        Every test and every taking of a service's lock happens under it: a mere look would
        otherwise make a registration fail that tries the lock at the same time.

        Args:
            shared: Whether others may look at the same time.
        """
        descriptor = os.open(self.root / "mutex", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            # Closing alone would not do: a child that another thread forks meanwhile shares it.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def chosen_root(root: str | None = None) -> Path:
    """The directory that is meant, whether it is there or not.

    Args:
        root: The directory; by default `SERVICES_LOCAL_DIR`, or one in the temporary directory.
    """
    chosen = root or os.environ.get(ROOT_VARIABLE)
    default = Path(tempfile.gettempdir()) / f"services-local-{os.getuid()}"
    return Path(chosen).absolute() if chosen else default


def _make_private(root: Path) -> None:
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o700, parents=True)
    status = root.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise RuntimeDirectoryError(str(root), "it is not a directory, or it is a link")
    if status.st_uid != os.geteuid():
        raise RuntimeDirectoryError(str(root), f"it belongs to user {status.st_uid}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise RuntimeDirectoryError(str(root), f"others may enter it (mode {mode:04o})")


def _digest(name: str) -> str:
    return hashlib.blake2s(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
