"""The sandbox: which layers this machine gives, and putting them on, process by process.

::

    root           namespaces, read-only mounts; no capabilities
      slot server  a user of its own, limits, the long filter
        program    a Landlock domain of its own, the short filter
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: S103, PTH101, PTH102, PTH104, PTH119, PTH120, PTH112
from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import (
    allowed,
    directories,
    landlock,
    limits,
    linux,
    namespaces,
    paths,
    privileges,
    seccomp,
    syscalls,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# The users of slots: above those of people and of services, below where namespaces usually end.
_FIRST_USER, _USERS = 30000, 30000


class Sandbox:
    """The layers of one pool.

    Args:
        plan: what the policy says: ``read``, ``write`` (paths), ``network``, ``processes``,
            ``memory``, ``disk`` (bytes), ``open_files``, ``namespaces`` (whether to try),
            ``slots``, ``sessions`` (how many of them are for sessions). None is no sandbox.
        directory: the pool's own.

    Attributes:
        directory: where slots have theirs; may not be the pool's own any more.
        report: for each layer ``layer``, ``on`` and ``detail``.
        hidden: whether the host can't see what is in ``directory``.
        set_aside: directories of slots that are to be removed.
        encloses_slot: in a slot server: whether it can send signals to its descendants alone.
        asks: in a server of sessions: the filter by which they ask it, if there is one.
        unanswered: why there is none, and a program can't be let clone itself; else empty.
    """

    def __init__(self, plan: dict[str, Any] | None, directory: str) -> None:
        self.directory = directory
        self.hidden = False
        self.encloses_slot = False
        self.report: list[dict[str, Any]] = []
        self.set_aside: list[str] = []
        self.asks: seccomp.Installation | None = None
        self.unanswered = ""
        self._question: seccomp.Installation | None = None
        self._plan = plan
        self._abi = 0
        self._users: list[int] | None = None
        self._filters: tuple[seccomp.Installation, seccomp.Installation] | None = None
        self._session_filters: tuple[seccomp.Installation, seccomp.Installation] | None = None
        self._ruleset: landlock.Ruleset | None = None
        self._readable: list[str] = []
        self._warm = 0
        self._count = 0
        self._namespaces = "switched off"

    @property
    def processes(self) -> bool:
        """Whether programs may start processes."""
        return self._plan is None or self._plan["processes"] > 0

    def enter_early(self) -> None:
        """In the root, before any module is preloaded and may start a thread."""
        plan = self._plan
        if plan is None or not plan["namespaces"]:
            return

        def trial() -> None:
            namespaces.enter_user_namespace()
            namespaces.enter({**plan, "slots": 1}, os.path.basename(self.directory), None)

        self._namespaces = _tried(trial)
        if not self._namespaces:
            namespaces.enter_user_namespace()

    def enter_root(self) -> None:
        """In the root, after the preload, and before any child that lives on."""
        plan = self._plan
        if plan is None:
            return
        self._warm = limits.data_in_use()
        self._abi = min(landlock.abi(), landlock.ABI_KNOWN)
        users = self._users_for(plan)
        if not self._namespaces:
            if namespaces.hides(plan):
                os.chdir("/")
                directories.remove(self.directory)  # it will be read-only, and not needed
            folder = namespaces.enter(plan, os.path.basename(self.directory), users)
            if folder is not None:
                self.directory = folder
                self.hidden = True
            os.chdir(self.directory)
        self._readable = paths.readable(network=plan["network"])  # once: that takes milliseconds
        self._users = users
        privileges.drop_capabilities(privileges.OVER_OTHER_USERS if users else frozenset())
        self._filters = self._assemble(plan)
        if plan["sessions"]:
            self._session_filters = self._assemble(plan, sessions=True)
        self._find_out()

    def _users_for(self, plan: dict[str, Any]) -> list[int] | None:
        """Choose a user for each slot, if this process may become one that can read this Python."""
        # Users whose files and memory the host can't see would take both without limit.
        if os.geteuid() != 0 or not privileges.sees_other_users():
            return None
        first = _FIRST_USER + os.getpid() * 131 % (_USERS - plan["slots"])
        os.chmod(self.directory, 0o711)
        needed = (os.__file__, os.path.dirname(__file__), *plan["read"], *paths.python())

        def become() -> None:
            privileges.become(first)
            _check_access(needed, os.R_OK)
            _check_access(plan["write"], os.R_OK | os.W_OK)
            if self._namespaces or not namespaces.hides(plan):
                os.chdir(self.directory)

        if _tried(become):
            return None
        return list(range(first, first + plan["slots"]))

    def _assemble(
        self, plan: dict[str, Any], *, sessions: bool = False
    ) -> tuple[seccomp.Installation, seccomp.Installation] | None:
        if syscalls.audit_architecture() is None:
            return None
        network, processes = plan["network"], plan["processes"] > 0
        server = allowed.server_filter(
            network=network,
            processes=processes,
            truncate=self._abi == 0 or self._abi >= 3,
            bounded=self.hidden,
            sessions=sessions,
        )
        program = allowed.program_filter(
            network=network,
            processes=processes,
            scoped=self._abi >= landlock.ABI_SCOPES,
            sessions=sessions,
        )
        return seccomp.Installation(server), seccomp.Installation(program)

    def _find_out(self) -> None:
        """Try the layers in children, keep those that hold, and report."""
        plan = self._plan
        assert plan is not None
        self._note("capabilities", _tried(_check_privileges), "none, and none to be gained")
        version = self._abi
        why = "the kernel has no Landlock, or it is not switched on" if not version else ""
        why = why or _tried(lambda: linux.make([self._make_ruleset("/").restriction()]))
        self._abi = 0 if why else version
        self._note("landlock", why, f"ABI {version}")
        filters = self._filters
        if filters is None:
            why = f"no table of system calls for {os.uname().machine}"
        else:

            def install() -> None:
                for each in filters:
                    each()

            why = _tried(install)
        if why:
            self._filters = self._session_filters = None
        self._try_questions()
        self._note("seccomp", why, "an allow-list")
        self._note("limits", _tried(lambda: limits.limit(plan, self._warm)), "memory, files, disk")
        what = "mounts, IPC" if plan["network"] else "network, mounts, IPC"
        self._note("namespaces", self._namespaces, what if self.hidden else "network, IPC")
        users = self._users
        why = (
            ""
            if users
            else "needs root with CAP_SYS_PTRACE, and a Python that other users can read"
        )
        self._note("users", why, f"{users[0]} to {users[-1]}" if users else "")

    def _try_questions(self) -> None:
        """Find out whether processes of sessions can ask their servers about system calls."""
        if self._session_filters is None:
            return
        question = seccomp.Installation(allowed.question_filter())
        self.unanswered = _tried(lambda: question.listen() and None)
        if self.unanswered:
            self._session_filters = None
        else:
            self._question = question

    def _note(self, layer: str, why: str, detail: str) -> None:
        self.report.append({"layer": layer, "on": not why, "detail": why or detail})

    def prepare_slot(self, slot: int) -> str:
        """In the root: make ready for the fork of a slot server; returns the slot's directory.

        What is done here is done once; in the slot server it would copy the memory that it takes.
        """
        path = f"{self.directory}/{slot}"
        if self.hidden:
            directories.clear(path)
        else:
            self._make_home(path, slot)
        if self._abi:
            self._ruleset = self._make_ruleset(path)
        return path

    def forget_slot(self) -> None:
        """In the root, after the fork."""
        if self._ruleset is not None:
            os.close(self._ruleset.descriptor)
            self._ruleset = None

    def _make_home(self, path: str, slot: int) -> None:
        """Make a slot's directory; an older one, which may take long to remove, is set aside."""
        with suppress(FileNotFoundError):
            self._count += 1
            old = f"{self.directory}/.old-{self._count}"
            os.rename(path, old)
            self.set_aside.append(old)
        os.mkdir(path, 0o700)
        if self._users is not None:
            os.chown(path, self._users[slot], self._users[slot])

    def become_slot(self, slot: int) -> None:
        """In a new slot server, before anything else: take its user."""
        if self._users is not None:
            privileges.become(self._users[slot])
            privileges.drop_capabilities()

    def enter_slot(self, *, session: bool = False) -> None:
        """In a new slot server: limits, and the outer filter; its children get the rest.

        Args:
            session: whether it is for sessions.
        """
        if self._plan is None:
            return
        if session and self._session_filters is not None:
            self._filters = self._session_filters
            self.asks = self._question
            self.unanswered = ""
        limits.limit(self._plan, self._warm)
        if self._plan["processes"] and self._abi >= landlock.ABI_SCOPES:
            self.encloses_slot = _enclose_signals()
        if self._filters is not None:
            self._filters[0]()

    def _make_ruleset(self, home: str) -> landlock.Ruleset:
        plan = self._plan
        assert plan is not None
        ruleset = landlock.Ruleset(self._abi, network=plan["network"])
        execute = landlock.EXECUTE if plan["processes"] else 0
        for path in (*self._readable, *plan["read"]):
            ruleset.grant(path, landlock.READ | execute)
        for path in (*paths.WRITABLE, *plan["write"]):
            ruleset.grant(path, landlock.WRITE | execute)
        ruleset.grant(home, landlock.WRITE | landlock.OWN | execute)
        return ruleset

    def rules_for(self, base: str) -> list[int]:
        """Make what keeps a branch out of the directories of others.

        Args:
            base: its own.

        Returns:
            The descriptor of a ruleset, to be closed; nothing if there is no Landlock.

        Raises:
            OSError: the kernel refused.
        """
        return [self._make_ruleset(base).descriptor] if self._abi else []

    def restrict(self, descriptor: int) -> None:
        """Keep a branch to its rules, if so many layers can be stacked."""
        with suppress(OSError):  # E2BIG: it has the layers of those that it comes from
            linux.make([landlock.restriction(descriptor, self._abi)])

    def restrictions(self) -> list[linux.Call]:
        """What an interpreter does first, while the ruleset's descriptor is still open."""
        return [] if self._ruleset is None else [self._ruleset.restriction()]

    def confinement(self) -> list[linux.Call]:
        """What an interpreter does when all that only a server may do is done."""
        calls: list[linux.Call] = []
        if self._plan is not None:
            calls.append(limits.files_limit(self._plan["open_files"]))
        if self._filters is not None:
            calls.append((self._filters[1], ()))
        return calls


def _enclose_signals() -> bool:
    """Keep a slot server from sending signals to others; whether that is sure to hold."""
    try:
        landlock.scope_signals()
    except OSError:
        return False  # too many domains: the servers end programs one process after the other
    try:
        os.kill(os.getppid(), 0)
    except PermissionError:
        return True
    return False


def _check_privileges() -> None:
    """Fail unless a child of the root has no capabilities and can't gain any."""
    privileges.drop_capabilities()
    fields = privileges.status()
    held = [name for name in (b"CapPrm", b"CapEff", b"CapInh") if int(fields[name], 16)]
    if held or int(fields[b"NoNewPrivs"]) != 1:
        raise OSError(f"{held} are still held")


def _check_access(granted: Iterable[str], access: int) -> None:
    for path in granted:
        if not os.access(path, access | (os.X_OK if os.path.isdir(path) else 0)):
            raise PermissionError(f"no access to {path}")


def _tried(what: Callable[[], object]) -> str:
    """Do something in a child; returns why it failed, empty if it didn't."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        reason = ""
        try:
            what()
        except BaseException as error:  # noqa: BLE001  (whatever it is, it goes into the report)
            reason = str(error) or repr(error)
        with suppress(OSError):
            os.write(write, reason.encode())
        os._exit(0 if not reason else 1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        reason = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    return reason or ("" if status == 0 else f"its trial ended with status {status}")
