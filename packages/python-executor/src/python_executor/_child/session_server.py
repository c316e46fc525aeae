"""The server of a session and its branches: what forks, and keeps, all of their processes.

::

    server ──fork──> interpreter          runs the cells
       ├──(clone)──> checkpoint           waits, as the interpreter was after the last cell
       ├──(clone)──> interpreter          of a branch: was a copy, and runs cells of its own
       └──(clone)──> checkpoint           of that

An interpreter clones itself between two cells: so nobody waits for a checkpoint, and it is the
parent that runs on, with its pid, threads and open files. The child is this server's own. A
checkpoint sleeps until its interpreter has died, or is to be forgotten; a branch goes on at once.
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH102
from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from . import copying, directories, messages, notifications, processes, syscalls, tree
from .cloning import Cloning
from .interpreter import PRIVATE
from .members import Copy, Folder, Member, Wanted
from .session import BRANCH, CHECKPOINT, COPIED, DONE, READY, SessionInterpreter
from .slot import SlotServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .interpreter import Interpreter

# The most messages that may be waiting: two for a checkpoint, and what a cell writes there.
_UNHEARD = 16
_ONE_DESCRIPTOR = socket.CMSG_LEN(4)
# A message from an interpreter: a letter and two numbers.
_MESSAGE = struct.Struct("=cQQ")
_NAME_BYTES = 8
# Descriptors that the host makes for an interpreter: control socket, stdout, stderr.
_ENDS = 3


class SessionServer(SlotServer):
    """The loop of a session's server. The arguments are those of ``SlotServer``.

    Attributes:
        cloning: what makes copies; None if that can't be done here.
        history: how many checkpoints each session keeps.
    """

    cloning: Cloning | None = None
    history = 1

    def _enter(self, highest: int) -> SessionInterpreter:
        self._members: dict[int, Member] = {}  # by the descriptor of their line
        self._privates: dict[int, Member] = {}  # by that of the socket to their interpreter
        self._copy: Copy | None = None
        self._listener: int | None = None
        self._branched = False  # whether there are, or were, others than the first
        self._top = os.path.dirname(self._home)  # noqa: PTH120
        self._folder = Folder(self._top)
        self._members[self._control.fileno()] = Member(self._control, self._folder, self._home)
        with suppress(OSError):  # there will be no checkpoints
            self.cloning = Cloning(PRIVATE, COPIED)
        self.sandbox.enter_slot(session=True)
        return SessionInterpreter(self, self._home, highest)

    def serve(self) -> Interpreter | None:
        """Serve until no session is left; a forked child returns its interpreter."""
        while self._members and not self.wakeup.stopping:
            copy = self._copy
            patience = None if copy is None else max(0.0, copy.deadline - time.monotonic())
            signalled, ready = self.wakeup.wait_for_any(patience)
            if signalled:
                self._reap()
            lines = (self._members[each] for each in ready if each in self._members)
            line = next((each for each in lines if self._copy_is_free_for(each)), None)
            if line is not None:
                if self._on_line(line):
                    return self._interpreter
            else:
                for descriptor in ready:
                    member = self._privates.get(descriptor)
                    # One of these may begin a copy, for which the others then wait.
                    if member is not None and self._copy_is_free_for(member):
                        self._on_message(member)
                if self._listener in ready:
                    self._on_question()
            if self._copy is not None and time.monotonic() >= self._copy.deadline:
                self._give_up_copy("its copy died, or did not answer")
        self._end()
        if not self._members:
            with suppress(OSError):  # else the root removes it, when this number is used again
                self._scratch.clear()
        return None

    def _on_line(self, member: Member) -> bool:
        """Do what the host asks; whether this is a new interpreter."""
        message = messages.receive(member.line)
        if message is None:
            self._leave(member)
            return False
        request, descriptors = message
        if "recycle" in request:
            return self._start(member, request["recycle"], descriptors)
        if "restore" in request:
            self._restore(member, request["restore"], request["tag"])
        elif "rollback" in request:
            self._roll_back(member, request["rollback"], request["tag"])
        elif len(descriptors) == 1 + _ENDS:
            self._want(member, Wanted(request["branch"], descriptors))
        else:  # this process had no room for them; the host sees that they are closed
            for descriptor in descriptors:
                os.close(descriptor)
        return False

    def _start(self, member: Member, generation: int, descriptors: Sequence[int]) -> bool:
        """Fork a pristine interpreter in place of all that there is; whether this is it.

        Only if there are no branches: if some are left, the host has closed them.
        """
        if self._copy is not None:
            self._give_up_copy("its session begins anew")
        for other in list(self._members.values()):
            if other is not member:
                self._leave(other)
        self._end()
        self._scratch.clear()
        self._branched = False
        member.base, member.home = self._folder, self._home
        os.mkdir(self._home, 0o700)
        os.chdir(self._home)
        theirs = self._connect(member)
        self.descriptors = (*descriptors, theirs)
        pid = tree.fork()
        if pid == 0:
            return True
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()
        member.child = pid
        member.has_mapped = False
        member.generation = generation
        messages.tell_forked(member.line, generation, pid, self.pid)
        return False

    def _connect(self, member: Member) -> int:
        """Make a new socket to an interpreter; returns the descriptor of its end."""
        member.private, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._privates[member.private.fileno()] = member
        if self._copy is None:  # while a copy is made, others wait
            self.wakeup.watch(member.private.fileno())
        return theirs.detach()

    def _disconnect(self, member: Member) -> None:
        private, member.private = member.private, None
        if private is None:
            return
        descriptor = private.fileno()
        del self._privates[descriptor]
        if self._copy_is_free_for(member):
            self.wakeup.unwatch(descriptor)
        private.close()

    def _end(self) -> None:
        """Kill all interpreters, all that they can go back to, and every descendant."""
        for member in self._members.values():
            member.forget_processes()
            member.restoring = False
        if self._copy is not None:
            self._give_up_copy("its session ended")
        self._end_descendants()
        self.wakeup.forget()
        for member in self._members.values():
            self._disconnect(member)
        self._forget_listener()

    def _leave(self, member: Member) -> None:
        """Forget a session, which the host has closed."""
        del self._members[member.line.fileno()]
        self.wakeup.unwatch(member.line.fileno())
        member.line.close()
        tree.end(member.forget_processes())
        self._give_up_copy_of(member, "its session was closed")
        self._disconnect(member)
        if member.wanted is not None:
            member.wanted.close()
        if self._members:  # else all of it goes
            self._end_strangers()
            self._remove_home(member)

    def _remove_home(self, member: Member) -> None:
        """Remove what a session had, and directories that were kept for its branches alone."""
        folder = member.base
        with suppress(OSError):  # it fails at the first that is in use
            with folder.opened():
                directories.remove(f"{folder.place}/home")
            bases = [each.base for each in self._members.values()]
            while folder.outer is not None and folder not in bases:
                folder.remove()
                folder = folder.outer

    def _forget_listener(self) -> None:
        if self._listener is not None:
            self.wakeup.unwatch(self._listener)
            os.close(self._listener)
            self._listener = None

    def _restore(self, member: Member, generation: int, tag: int) -> None:
        """Have a checkpoint go on in place of its interpreter, and tell the host.

        Args:
            member: whose.
            generation: what the host calls it from now on.
            tag: which one; it may be lost.
        """
        child, member.child = member.child, None
        if child is not None:
            tree.end([child])
        self._hear_out(member)
        self._give_up_copy_of(member, "its session goes back")
        tree.end([member.checkpoints.pop(each) for each in list(member.checkpoints) if each > tag])
        self._end_strangers()
        member.generation = generation
        member.child = member.checkpoints.pop(tag, None)
        member.restoring = member.child is not None
        if member.child is None:
            messages.tell_restored(member.line, generation, 0, self.pid)
        else:
            self._begin_copy(Copy(member, tag=tag))  # the first that it does
            for number in (signal.SIGINT, signal.SIGCONT):
                os.kill(member.child, number)  # it may have ended, and isn't reaped yet

    def _roll_back(self, member: Member, generation: int, tag: int) -> None:
        """Do as ``_restore`` does, if there is such a checkpoint; otherwise all goes on."""
        if tag in member.checkpoints:
            self._restore(member, generation, tag)
        else:
            member.generation = generation
            messages.send(member.line, {"kind": "refused", "reason": "there is none"})

    def _hear_out(self, member: Member) -> None:
        """Take what an interpreter has told, and we have not heard yet: of its last checkpoint."""
        for _ in range(_UNHEARD):
            if member.private is None:
                break
            waiting = select.poll()  # not select(), which takes no descriptor above 1023
            waiting.register(member.private, select.POLLIN)
            if not waiting.poll(0):
                break
            self._on_message(member)

    def _on_message(self, member: Member) -> None:
        """An interpreter, or the code that runs there, asks for a copy or tells of one."""
        assert member.private is not None
        try:
            data, ancillary, _, _ = member.private.recvmsg(
                _MESSAGE.size, _ONE_DESCRIPTOR, socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, ancillary = b"", []
        for _, _, content in ancillary:
            self._listen(int.from_bytes(content, sys.byteorder))
            return
        if len(data) != _MESSAGE.size:  # closed, or not what we send: it can't ask any more
            self._disconnect(member)
            return
        kind, number, tag = _MESSAGE.unpack(data)
        copy = self._copy
        if kind in (CHECKPOINT, BRANCH):
            if self._give_up_copy_of(member, "it asked twice"):
                return  # it is answered: others may be heard now
            if kind == CHECKPOINT:
                self._agree_on_checkpoint(member, most=number, tag=tag)
            else:
                self._agree_on_branch(member, uncopied=number)
        elif kind == READY and member.restoring and member.child is not None:
            member.restoring = False
            messages.tell_restored(member.line, member.generation, member.child, self.pid)
        elif kind == DONE and copy is not None and copy.member is member:
            self._take_copy(copy, made=number > 0)

    def _listen(self, descriptor: int) -> None:
        """Take the listener of a new interpreter; it sends it before it runs anything."""
        if self._listener is None:
            self._listener = descriptor
            self.wakeup.watch(descriptor)
        else:
            os.close(descriptor)

    def _agree_on_checkpoint(self, member: Member, *, most: int, tag: int) -> None:
        """Let an interpreter leave a copy of itself behind, if it can.

        Args:
            member: whose.
            most: bytes of memory of its own that it may have for that.
            tag: what the copy is to be known by.
        """
        reason = self._why_not(member, most)
        if reason:
            member.trim(self.history - 1)
        else:
            self._begin_copy(Copy(member, tag=tag))
        member.reply(reason)

    def _want(self, member: Member, wanted: Wanted) -> None:
        """Note that the host wants a branch; the interpreter, which was told too, will ask."""
        if member.wanted is not None:
            member.wanted.close()
        member.wanted = wanted
        if member.child is None:
            self._refuse(member, "its process has ended")

    def _agree_on_branch(self, member: Member, *, uncopied: int) -> None:
        """Make ready what a branch needs, and let the interpreter clone itself, if it can.

        Args:
            member: whose.
            uncopied: one more than the descriptor of something that it can't take along; or 0.
        """
        wanted = member.wanted
        if wanted is None:  # a cell made that up
            member.reply("nobody wants it")
            return
        reason = self._why_not(member, sys.maxsize)
        if uncopied and not reason:
            reason = f"it has a pipe, a socket or the like open (descriptor {uncopied - 1})"
        if member.has_mapped and not reason:
            reason = "it has mapped a file to write to it, which two can't have each for itself"
        branch = None
        handed = list(wanted.ends)
        if not reason:
            try:
                branch = self._make_branch(member, wanted)
                handed.append(self._connect(branch))
                handed += self.sandbox.rules_for(branch.base.place)
            except OSError as error:
                reason = f"its files can't be copied ({error.strerror})"
        if branch is not None and not reason:
            self._begin_copy(Copy(member, branch))
            member.reply("", branch.home, handed)
        else:
            if branch is not None:
                self._forget_branch(member, branch, reason)
            else:
                self._refuse(member, reason)
            member.reply(reason)
        for descriptor in handed[_ENDS:]:
            os.close(descriptor)

    def _make_branch(self, member: Member, wanted: Wanted) -> Member:
        """Make a branch's directories, with copies of all files.

        Raises:
            OSError: that failed; nothing is left.
        """
        if not self._branched:  # until now nobody else was there to be kept out
            directories.remove_others(self._top, self._home)
            self._branched = True
        base = Folder(f"{member.base.path}/{os.urandom(_NAME_BYTES).hex()}", member.base)
        branch = Member(wanted.line, base, f"{base.path}/home")
        branch.generation = wanted.generation
        try:
            with base.opened():
                os.mkdir(f"{base.place}/home", 0o700)
                copying.copy(member.base.place, base.place, member.home, branch.home)
        except OSError:
            self._remove_home(branch)
            raise
        return branch

    def _refuse(self, member: Member, reason: str) -> None:
        """Tell the host that there will be no branch."""
        wanted, member.wanted = member.wanted, None
        if wanted is not None:
            messages.send(wanted.line, {"kind": "refused", "reason": reason})
            wanted.close()

    def _begin_copy(self, copy: Copy) -> None:
        """Agree on a clone. Until it is told of, nobody else is heard: whose would it be?"""
        for descriptor in self._waiting_for(copy):
            self.wakeup.unwatch(descriptor)
        self._copy = copy

    def _end_copy(self) -> Copy:
        copy = self._copy
        assert copy is not None
        for descriptor in self._waiting_for(copy):
            self.wakeup.watch(descriptor)
        self._copy = None
        if copy.member.private is not None:  # behind the others: it may ask again without end
            self.wakeup.unwatch(copy.member.private.fileno())
            self.wakeup.watch(copy.member.private.fileno())
        return copy

    def _waiting_for(self, copy: Copy) -> list[int]:
        """The descriptors of those who wait until a clone has been told of."""
        ways = (*self._members.items(), *self._privates.items())
        return [descriptor for descriptor, member in ways if member is not copy.member]

    def _copy_is_free_for(self, member: Member) -> bool:
        return self._copy is None or self._copy.member is member

    def _take_copy(self, copy: Copy, *, made: bool) -> None:
        """Take the clone that is said to be there, or not."""
        found = list(set(tree.children()) - self._known()) if made else []
        # There was none before, and one was let through. An orphan may have come since.
        let_through = copy.begun or self.sandbox.asks is None
        if not let_through or len(found) != 1:
            self._give_up_copy("it could not be copied")
            return
        self._end_copy()
        (pid,) = found
        member, branch = copy.member, copy.branch
        if branch is None:
            # It has nothing to do; if it is not what we made, it is to do nothing either.
            os.kill(pid, signal.SIGSTOP)
            member.checkpoints[copy.tag] = pid
        else:
            branch.child = pid
            self._admit(member, branch)
        # The interpreter goes on; what has to be cleared up, is cleared up meanwhile. Not children
        # that nobody told of: they may be orphans that its next cell has left by now.
        member.reply("")
        member.trim(self.history)

    def _admit(self, member: Member, branch: Member) -> None:
        """Begin to serve a branch, and tell the host."""
        wanted, member.wanted = member.wanted, None
        assert wanted is not None
        for descriptor in wanted.ends:
            os.close(descriptor)
        self._members[branch.line.fileno()] = branch
        self.wakeup.watch(branch.line.fileno())
        told = {"kind": "forked", "generation": branch.generation, "pid": branch.child}
        folder = os.path.relpath(branch.home, self._top)
        messages.send(branch.line, {**told, "server": self.pid, "home": folder})

    def _forget_branch(self, member: Member, branch: Member, reason: str) -> None:
        self._disconnect(branch)
        self._refuse(member, reason)
        self._remove_home(branch)

    def _give_up_copy(self, reason: str) -> None:
        """Wait no longer for the clone that was agreed on."""
        copy = self._end_copy()
        self._end_strangers()  # first: one that was to be a branch may write there
        if copy.branch is None:
            copy.member.trim(self.history - 1)
        else:
            self._forget_branch(copy.member, copy.branch, reason)
        copy.member.reply(reason)

    def _give_up_copy_of(self, member: Member, reason: str) -> bool:
        """Do so if it is of a member; whether it was."""
        copying = self._copy is not None and self._copy.member is member
        if copying:
            self._give_up_copy(reason)
        return copying

    def _why_not(self, member: Member, most: int) -> str:
        """Why an interpreter can't be cloned now; empty if it can.

        Args:
            member: whose.
            most: bytes of memory of its own that it may have.
        """
        if self.sandbox.unanswered:
            return self.sandbox.unanswered
        if self.cloning is None:
            return "this machine can't"
        if member.child is None:
            return "it is gone"
        growth, threads = processes.look_at(member.child)
        if threads != 1:
            return f"{threads - 1} other threads run" if threads > 2 else "another thread runs"
        try:
            if processes.has_children(member.child) or self._has_strangers():
                return "it has child processes"
        except OSError:
            return "it is gone"
        growth -= processes.look_at(self.pid)[0]
        if growth > most:
            return f"it has {growth / 2**20:.0f} MiB of memory"
        return ""

    def _known(self) -> set[int]:
        """The pids of all members: asked for once, because there are as many of both."""
        found: set[int] = set()
        for member in self._members.values():
            found.update(member.checkpoints.values())
            if member.child is not None:
                found.add(member.child)
        return found

    def _has_strangers(self) -> bool:
        """Whether there are children that nobody told of: orphans, where processes are allowed."""
        return not self._known().issuperset(tree.children())

    def _end_strangers(self) -> None:
        """End children that nobody told of, unless one is a copy that will be."""
        if self._copy is None:
            tree.end_children(keep=self._known().__contains__)

    def _on_question(self) -> None:
        """A process of the session wants to make a call that depends on who makes it."""
        assert self._listener is not None
        question = notifications.receive(self._listener)
        if question is not None:
            allowed = self._allows(question)
            notifications.answer(self._listener, question, allowed=allowed)
        elif not any(member.child or member.checkpoints for member in self._members.values()):
            self._forget_listener()  # nobody is left to ask

    def _allows(self, question: notifications.Question) -> bool:
        if question.number == syscalls.number("clone"):
            copy = self._copy
            if copy is None or copy.begun or question.thread != copy.member.child:
                return False
            copy.begun = True
            return True
        caller = processes.process_of(question.thread)
        if question.number == syscalls.number("mmap"):
            self._note_mapped(caller)
            return True
        target = ctypes.c_int(question.arguments[0]).value
        if target == caller:
            return True
        return self.sandbox.processes and self._are_related(caller, target)

    def _note_mapped(self, process: int) -> None:
        """Note whose files are mapped to be written to. When they are no more, nobody tells."""
        top = self._top_of(process)
        for member in self._members.values():
            member.has_mapped = member.has_mapped or member.child == top

    def _are_related(self, caller: int, target: int) -> bool:
        """Whether a pid, or a group's negative number, is of the session whose process asks.

        Checkpoints lead groups of their own, so its own group, 0, has none of them.
        """
        if target in (0, -1):
            return target == 0
        pid = abs(target)
        top = self._top_of(pid)
        if top is None:
            return False
        if top not in self._known():
            return True  # an orphan, of whichever session
        owner = next(member for member in self._members.values() if member.knows(top))
        # Of a checkpoint nothing may be reached, and it has nothing but itself.
        return top == owner.child and self._top_of(caller) in (owner.child, None)

    def _top_of(self, pid: int) -> int | None:
        """The process under this server that another comes from; None if that is elsewhere."""
        while pid > 1:
            parent = processes.parent_of(pid)
            if parent == self.pid:
                return pid
            pid = parent
        return None

    def _note_end(self, pid: int, returncode: int) -> None:
        member = next((each for each in self._members.values() if each.knows(pid)), None)
        if member is None:
            if self._copy is not None:  # it is the copy: there was nothing else
                self._give_up_copy("its copy died, or did not answer")
        elif pid != member.child:
            member.checkpoints = {t: p for t, p in member.checkpoints.items() if p != pid}
        else:
            member.child = None
            if member.restoring:
                member.restoring = False
                self._give_up_copy_of(member, "it is gone")
                messages.tell_restored(member.line, member.generation, 0, self.pid)
            else:
                messages.tell_exited(member.line, member.generation, returncode)
