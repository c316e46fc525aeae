"""A slot server: keeps one pristine interpreter ready, and ends all that a program has started."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH102
from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from . import directories, messages, tree
from .interpreter import Interpreter
from .wakeup import Wakeup

if TYPE_CHECKING:
    from collections.abc import Sequence


class SlotServer:
    """The loop of a slot. The root forks one for each slot, as its only job.

    Being a subreaper of its own, it can tell the descendants of this slot's program from all
    others.

    Args:
        root: kept as it is: freeing what the fork inherited would copy its pages.
        control: socket to the host; its end means that the host is gone.
        directory: this slot's own. Each interpreter gets a fresh directory in it.
        highest: the greatest descriptor that the root has open.
    """

    def __init__(self, root: object, control: socket.socket, directory: str, highest: int) -> None:
        self.pid = os.getpid()
        self._control = control
        self._root = root
        self._highest = highest
        self._directory = directory
        self._generation = 0
        self._child: int | None = None
        self._wakeup = Wakeup(control)
        os.mkdir(directory, 0o700)

    def serve(self) -> Interpreter | None:
        """Serve until the host is gone or the root died; a forked child returns its interpreter."""
        while not self._wakeup.stopping:
            received = self._wakeup.wait()
            self._reap()
            if received:
                message = messages.receive(self._control)
                if message is None:
                    break
                request, descriptors = message
                interpreter = self._recycle(request["recycle"], descriptors)
                if interpreter is not None:
                    return interpreter
        self._clear()
        directories.remove(self._directory)
        return None

    def _recycle(self, generation: int, descriptors: Sequence[int]) -> Interpreter | None:
        """End what runs, then fork the next interpreter; the child gets it as the result."""
        self._clear()
        self._generation = generation
        pid = tree.fork()
        if pid == 0:
            self._wakeup.close()
            return Interpreter(self, descriptors, self._home(), self._highest)
        for descriptor in descriptors:
            os.close(descriptor)
        self._child = pid
        messages.send(
            self._control,
            {"kind": "forked", "generation": generation, "pid": pid, "server": self.pid},
        )
        return None

    def _home(self) -> str:
        return f"{self._directory}/{self._generation}"

    def _clear(self) -> None:
        """Kill the interpreter and every descendant, and remove its directory."""
        if self._child is not None:
            tree.kill(self._child)
            tree.reap(self._child)
            self._child = None
        if tree.has_children():
            tree.end_children()
        directories.remove(self._home())

    def _reap(self) -> None:
        """Reap what ended by itself, and tell the host if the interpreter did."""
        while (ended := tree.reap_any()) is not None:
            if ended[0] == self._child:
                self._child = None
                messages.send(
                    self._control,
                    {"kind": "exited", "generation": self._generation, "returncode": ended[1]},
                )
