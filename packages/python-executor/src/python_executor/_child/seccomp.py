"""Filters of system calls: from rules to a BPF program, and into the kernel (seccomp(2)).

A filter is an *allow-list*: what no rule names is refused. The program is assembled once, in the
root; an interpreter puts its own pid into it and installs it.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

from . import linux, syscalls

ALLOW = 0x7FFF0000
# The server decides: see ``notifications.py``.
ASK = 0x7FC00000
KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000

# Instructions of classic BPF (linux/bpf_common.h): load a word, and, jump if equal or not below,
# return.
_LOAD, _AND, _JUMP_EQUAL, _JUMP_NOT_BELOW, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_INSTRUCTION = struct.Struct("=HBBI")
# Where struct seccomp_data has number, architecture and arguments (on little-endian machines).
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
# Calls of the x32 ABI, which shares x86-64's architecture, have this bit set.
_X32 = 0x40000000
_WORD = 0xFFFFFFFF
_pack_word = struct.Struct("=I").pack_into
_getpid = os.getpid

_SECCOMP_MODE_FILTER = 2
_SECCOMP_SET_MODE_FILTER, _NEW_LISTENER = 1, 8


class Condition(NamedTuple):
    """Holds if ``argument & mask == value``.

    Args:
        argument: which argument, from 0.
        value: what it must be; None is the pid of the process that installs the filter.
        mask: the bits that are looked at; those above 32 must be zero where ``wide``.
        wide: whether the kernel looks at all 64 bits, as it does at pointers.
    """

    argument: int
    value: int | None
    mask: int = _WORD
    wide: bool = False


def refusal(number: int) -> int:
    """The action that makes a call fail with an errno; 0 makes it succeed without effect."""
    return _ERRNO | number


class Program(NamedTuple):
    """An assembled filter.

    Args:
        code: the instructions.
        own: offsets in ``code`` of the words that the installing process's pid goes to.
    """

    code: bytes
    own: tuple[int, ...]


class Filter:
    """Collects rules.

    Args:
        default: the action for calls that no rule names.
    """

    def __init__(self, default: int) -> None:
        self._default = default
        self._plain: dict[int, int] = {}  # number -> action
        self._checked: dict[int, tuple[list[tuple[Condition, ...]], int, int]] = {}

    def answer(self, action: int, *names: str) -> None:
        """Give calls an action, whatever their arguments. Those not known here are skipped."""
        for name in names:
            number = syscalls.number(name)
            if number is not None:
                self._plain[number] = action

    def allow_if(
        self, name: str, *alternatives: tuple[Condition, ...], otherwise: int, then: int = ALLOW
    ) -> None:
        """Allow a call, or do ``then``, if all conditions of any alternative hold."""
        number = syscalls.number(name)
        if number is not None:
            self._checked[number] = (list(alternatives), then, otherwise)

    def assemble(self) -> Program:
        """Turn the rules into a program.

        A call whose action doesn't depend on arguments costs nothing: the kernel finds that out
        once (5.11 and later). So the others come first.
        """
        architecture = syscalls.audit_architecture()
        assert architecture is not None
        code = _Code()
        code.add(_LOAD, _ARCHITECTURE_AT)
        code.add(_JUMP_EQUAL, architecture, 1, 0)
        code.add(_RETURN, KILL_PROCESS)
        code.add(_LOAD, _NUMBER_AT)
        code.add(_JUMP_NOT_BELOW, _X32, 0, 1)
        code.add(_RETURN, KILL_PROCESS)
        for number, (alternatives, then, otherwise) in self._checked.items():
            block = _Code()
            for conditions in alternatives:
                block.extend(_alternative(conditions, then))
            block.add(_RETURN, otherwise)
            code.add(_JUMP_EQUAL, number, 0, len(block))
            code.extend(block)
        by_action: dict[int, list[int]] = {}
        for number, action in self._plain.items():
            by_action.setdefault(action, []).append(number)
        for action, numbers in by_action.items():
            # A jump reaches 255 instructions: groups of at most 100, each with its return.
            for start in range(0, len(numbers), 100):
                group = numbers[start : start + 100]
                for place, number in enumerate(group):
                    code.add(_JUMP_EQUAL, number, len(group) - place, 0)
                code.add(_JUMP_NOT_BELOW, 0, 1, 0)  # none of them: over the return
                code.add(_RETURN, action)
        code.add(_RETURN, self._default)
        return code.program()


def _alternative(conditions: tuple[Condition, ...], then: int) -> _Code:
    """Instructions that return ``then`` if all conditions hold, and fall through if not."""
    tests = _Code()
    jumps = []  # places of the jumps that leave for the next alternative
    for argument, value, mask, wide in conditions:
        tests.add(_LOAD, _ARGUMENTS_AT + 8 * argument)
        if mask & _WORD != _WORD:
            tests.add(_AND, mask & _WORD)
        jumps.append(len(tests))
        tests.add(_JUMP_EQUAL, value, 0, 0)
        if wide:
            tests.add(_LOAD, _ARGUMENTS_AT + 8 * argument + 4)
            jumps.append(len(tests))
            tests.add(_JUMP_EQUAL, 0, 0, 0)
    tests.add(_RETURN, then)
    for place in jumps:
        tests.leave_from(place)
    return tests


class _Code:
    """Instructions as they come."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, int, int | None]] = []

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, code: int, operand: int | None, when: int = 0, unless: int = 0) -> None:
        self._lines.append((code, when, unless, operand))

    def extend(self, other: _Code) -> None:
        self._lines += other._lines

    def leave_from(self, place: int) -> None:
        """Let the jump at ``place`` go to the end of these instructions if it doesn't hold."""
        code, when, _, operand = self._lines[place]
        self._lines[place] = (code, when, len(self._lines) - place - 1, operand)

    def program(self) -> Program:
        packed = bytearray()
        own = []
        for code, when, unless, operand in self._lines:
            if operand is None:
                own.append(len(packed) + 4)
            packed += _INSTRUCTION.pack(code, when, unless, operand or 0)
        return Program(bytes(packed), tuple(own))


class _SockFprog(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


class Installation:
    """Puts a filter over a thread, and all that it starts, for good; all but the pid is prepared.

    Args:
        program: the filter.
    """

    def __init__(self, program: Program) -> None:
        self._own = program.own
        self._code = bytearray(program.code)
        self._words = (ctypes.c_char * len(self._code)).from_buffer(self._code)
        length = len(self._code) // _INSTRUCTION.size
        argument = _SockFprog(length, ctypes.addressof(self._words))
        self._argument = argument
        self._call = linux.prepared_prctl(linux.PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, argument)

    def __call__(self) -> None:
        """Install it in this process.

        Raises:
            OSError: the kernel refused: it has no seccomp, or may not be asked (no_new_privs is
                unset).
        """
        code, pid = self._code, _getpid()
        for place in self._own:
            _pack_word(code, place, pid)
        linux.make((self._call,))

    def listen(self) -> int:
        """Install it; returns the descriptor on which its questions are answered.

        Raises:
            OSError: the kernel refused: it is too old (5.0), or somebody listens already (EBUSY).
        """
        number = syscalls.number("seccomp")
        assert number is not None
        return linux.syscall(
            number, _SECCOMP_SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(self._argument)
        )
