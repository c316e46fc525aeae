"""What a server knows of a session: its processes, where its files are, and the ways to them."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH101, PTH102, PTH106, PTH119
from __future__ import annotations

import array
import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import directories, tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# How long a clone that was agreed on may take to be told of (seconds). Of one that isn't, nobody
# could say what it does.
PATIENCE = 1.0
# Modes of a directory that holds those of branches: programs may not list it, because names of
# others are nobody's business; here it is opened for what has to be changed.
_CLOSED, _OPENED = 0o100, 0o300


class Folder:
    """A directory in which all lies that a session may write to, and its branches may.

    By its descriptor: who may write to the outer one while that is open could put a link to
    somewhere else in its place, and a server is kept from nowhere.

    Args:
        path: as programs have it.
        outer: the one of the session that it is a branch of; None of the first.
    """

    def __init__(self, path: str, outer: Folder | None = None) -> None:
        self.path = path
        self.outer = outer
        self.name = os.path.basename(path)
        if outer is not None:
            with outer.opened():
                path = f"{outer.place}/{self.name}"
                os.mkdir(path, _OPENED)
                self._handle = os.open(path, directories.HANDLE)
        else:
            self._handle = os.open(path, directories.HANDLE)

    @property
    def place(self) -> str:
        """A path that leads here whatever lies at ``path``."""
        return f"/proc/self/fd/{self._handle}"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let something be made or removed here meanwhile."""
        os.chmod(self.place, _OPENED)
        try:
            yield
        finally:
            os.chmod(self.place, _CLOSED)

    def remove(self) -> None:
        """Remove it, which is not the first.

        Raises:
            OSError: it is in use.
        """
        assert self.outer is not None
        with self.outer.opened():
            os.rmdir(f"{self.outer.place}/{self.name}")
        os.close(self._handle)


class Member:
    """A session.

    Args:
        line: socket to the host.
        base: where all lies that it may write to, and its branches may.
        home: its working directory, in there.

    Attributes:
        generation: what the host calls its interpreter.
        child: pid of its interpreter.
        checkpoints: pids of what that can go back to, the oldest first, by what the host knows
            them by.
        restoring: whether the checkpoint has been asked to go on, and has not said that it does.
        has_mapped: whether it has ever mapped a file to write to it.
        private: socket to its interpreter.
        wanted: the branch that the host has asked for.
    """

    def __init__(self, line: socket.socket, base: Folder, home: str) -> None:
        self.line = line
        self.base = base
        self.home = home
        self.generation = 0
        self.child: int | None = None
        self.checkpoints: dict[int, int] = {}
        self.restoring = False
        self.has_mapped = False
        self.private: socket.socket | None = None
        self.wanted: Wanted | None = None

    def knows(self, pid: int) -> bool:
        """Whether a process is its interpreter or one of its checkpoints."""
        return pid == self.child or pid in self.checkpoints.values()

    def trim(self, most: int) -> None:
        """End the oldest checkpoints, so that so many are left."""
        doomed = list(self.checkpoints)[: max(0, len(self.checkpoints) - most)]
        tree.end([self.checkpoints.pop(tag) for tag in doomed])

    def reply(self, reason: str, directory: str = "", descriptors: Sequence[int] = ()) -> None:
        """Answer the interpreter.

        Args:
            reason: why it can't be copied; empty if it can.
            directory: of a branch.
            descriptors: what a branch gets.
        """
        if self.private is None:
            return
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        data = reason.encode() or b"+" + directory.encode()
        try:
            self.private.sendmsg([data], rights if descriptors else [], socket.MSG_DONTWAIT)
        except OSError:
            return  # it doesn't read its replies, or is gone

    def forget_processes(self) -> list[int]:
        """Forget all processes, and return them."""
        doomed = [*([] if self.child is None else [self.child]), *self.checkpoints.values()]
        self.child = None
        self.checkpoints.clear()
        return doomed


class Wanted:
    """A branch that the host has asked for.

    Args:
        generation: what the host calls its interpreter.
        descriptors: of its line, and what its interpreter gets: control socket, stdout, stderr.
    """

    def __init__(self, generation: int, descriptors: Sequence[int]) -> None:
        self.generation = generation
        line, *self.ends = descriptors
        self.line = socket.socket(fileno=line)

    def close(self) -> None:
        """Close what was not handed on."""
        self.line.close()
        for descriptor in self.ends:
            os.close(descriptor)
        self.ends = []


class Copy:
    """A clone that was agreed on, and has not been told of.

    Args:
        member: whose interpreter clones itself.
        branch: what the clone is to be; None if it is a checkpoint.
        tag: what the host knows the checkpoint by.

    Attributes:
        begun: whether the call that makes it was let through. No other is.
        deadline: when it is given up (``time.monotonic``).
    """

    def __init__(self, member: Member, branch: Member | None = None, tag: int = 0) -> None:
        self.member = member
        self.branch = branch
        self.tag = tag
        self.begun = False
        self.deadline = time.monotonic() + PATIENCE
