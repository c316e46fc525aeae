"""A slot server: keeps one pristine interpreter ready, and ends all that a program has started.

What a process writes after a fork, the kernel copies for it, page by page, as long as parent and
child both live: that is most of what a pristine process costs. So the server first ends the old
interpreter, does what it has to do while it is alone, forks, and then does next to nothing.
"""

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

    from .sandbox import Sandbox


class SlotServer:
    """The loop of a slot. The root forks one for each slot, as its only job.

    Being a subreaper of its own, it can tell the descendants of this slot's program from all
    others.

    Args:
        root: kept as it is: freeing what the fork inherited would copy its pages.
        sandbox: what programs are kept in; here as well, as far as a server can be.
        control: socket to the host; its end means that the host is gone.
        directory: this slot's own, empty. Each interpreter begins in a fresh one, ``home`` in it.
        highest: the greatest descriptor that the root has open.

    Attributes:
        pid: of this process.
        sandbox: as above.
        wakeup: what it waits with.
        descriptors: the interpreter's control socket, stdout and stderr.
    """

    def __init__(
        self,
        root: object,
        sandbox: Sandbox,
        control: socket.socket,
        directory: str,
        highest: int,
    ) -> None:
        self.pid = os.getpid()
        self._control = control
        self._root = root
        self._home = f"{directory}/home"
        self._scratch = directories.Scratch(directory, self._home)
        self._generation = 0
        self._child: int | None = None
        self.descriptors: Sequence[int] = ()  # of the interpreter
        self.wakeup = Wakeup(control)
        self.sandbox = sandbox
        self._interpreter = self._enter(highest)

    def _enter(self, highest: int) -> Interpreter:
        """Take what limits a server; returns what its children are to be."""
        self.sandbox.enter_slot()
        return Interpreter(self, self._home, highest)

    def serve(self) -> Interpreter | None:
        """Serve until the host is gone or the root died; a forked child returns its interpreter."""
        while not self.wakeup.stopping:
            signalled, received = self.wakeup.wait()
            if signalled:
                self._reap()
            if received:
                # Whatever it is, a request or the host's end: what runs here ends.
                self._clear()
                message = messages.receive(self._control)
                if message is None:
                    return None
                request, self.descriptors = message
                if self._fork(request["recycle"]):
                    return self._interpreter
        self._clear()
        return None  # the root removes the directory

    def _fork(self, generation: int) -> bool:
        """Fork the next interpreter; whether this is it."""
        os.mkdir(self._home, 0o700)
        os.chdir(self._home)
        pid = tree.fork()
        if pid == 0:
            return True
        self._child = pid
        self._generation = generation
        messages.tell_forked(self._control, generation, pid, self.pid)
        return False

    def _clear(self) -> None:
        """Kill the interpreter and every descendant, and remove what they left.

        All of the slot's directory is theirs, beside that of the interpreter too: what is granted
        to a domain is granted once a slot.
        """
        if self._child is not None:
            tree.kill(self._child)
            tree.reap(self._child)
            self._child = None
            self.wakeup.forget()  # of that end, nobody has to be told
        self._end_descendants()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()
        self._scratch.clear()

    def _end_descendants(self) -> None:
        """Kill and reap all that this server, or what it has forked, has started."""
        if tree.has_children():
            if self.sandbox.encloses_slot:
                tree.end_all()
            else:
                tree.end_children()

    def _reap(self) -> None:
        """Reap what ended by itself."""
        while (ended := tree.reap_any()) is not None:
            self._note_end(*ended)

    def _note_end(self, pid: int, returncode: int) -> None:
        """Tell the host if it was the interpreter that ended."""
        if pid == self._child:
            self._child = None
            messages.tell_exited(self._control, self._generation, returncode)
