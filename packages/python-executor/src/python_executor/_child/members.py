"""What a server knows of a session: its processes, where its files are, and the ways to them."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# How long a clone that was agreed on may take to be told of (seconds). Of one that isn't, nobody
# could say what it does.
PATIENCE = 1.0


class Member:
    """A session.

    Args:
        line: socket to the host.
        base: directory in which all lies that it may write to, and its branches may.
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

    def __init__(self, line: socket.socket, base: str, home: str) -> None:
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
