"""Programs that end their own process, or try to end others with it."""

from __future__ import annotations

import signal

import pytest

from ._arena import Arena

CRASHES = {
    "exit": ("os._exit(7)", 7),
    "exit as if well": ("os._exit(0)", 0),
    "exit by system call": ("call('exit_group', 9)", 9),
    "exit of the thread": ("call('exit', 5)", 5),
    "C exit": ("libc.exit(4)", 4),
    "abort": ("os.abort()", -signal.SIGABRT),
    "null pointer": ("ctypes.string_at(0)", -signal.SIGSEGV),
    "write to code": ("ctypes.memset(id(int), 0xff, 400); int('1') + 1", -signal.SIGSEGV),
    "freed twice": ("libc.free(ctypes.c_void_p(8))", -signal.SIGSEGV),
    # In Python's own calls of C, later versions stop at a limit of theirs.
    "stack overflow in C": (
        "libc.regcomp(ctypes.create_string_buffer(4096), b'(' * 1_000_000, 1)",
        -signal.SIGSEGV,
    ),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "terminated": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "killed by thread": ("signal.pthread_kill(__import__('threading').get_ident(), 9)", -9),
    "processor time": (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (0, 1))\nwhile True: pass",
        -signal.SIGXCPU,
    ),
    "alarm": ("signal.setitimer(signal.ITIMER_REAL, 0.001); libc.pause()", -signal.SIGALRM),
}


@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_keeps_the_output_and_tells_how_it_ended(arena: Arena, name: str) -> None:
    code, returncode = CRASHES[name]
    result = arena.attack(f"print('kept', flush=True)\n{code}")
    assert (result["success"], result["status"]) == (False, "crashed")
    assert (result["returncode"], result["stdout"]) == (returncode, "kept\n")
    assert result["error"] is not None
    assert result["error"]["type"] == "ProcessCrashedError"


DEADLY = [
    number
    for number in signal.valid_signals()
    if number not in (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
]


def test_every_signal_to_itself_is_its_own_affair(arena: Arena) -> None:
    codes = [
        f"told(signal.signal, {int(number)}, signal.SIG_DFL)\nos.kill(os.getpid(), {int(number)})\n'lived'"
        for number in signal.valid_signals()
    ]
    results = arena.attack_all(codes, timeout=1.0)
    for number, result in zip(signal.valid_signals(), results, strict=True):
        if number == signal.SIGSTOP:
            assert result["status"] == "timeout"
        elif number in DEADLY and number not in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            assert (result["status"], result["returncode"]) == ("crashed", -number), number
        else:  # the leader of a session without a terminal isn't stopped by these (signal(7))
            assert (result["status"], result["value"]) == ("ok", "'lived'"), number


def test_an_exit_in_a_thread_is_no_exit(arena: Arena) -> None:
    code = (
        "import threading\nt = threading.Thread(target=sys.exit, args=(3,)); t.start(); t.join()\n1"
    )
    assert arena.seen(code) == 1


def test_a_stack_of_c_calls_that_is_too_deep_is_an_end_or_an_error(arena: Arena) -> None:
    codes = [
        "import re; re.compile('(' * 5000 + ')' * 5000)",
        "import json; json.loads('[' * 10 ** 6)",
        "import pickle; x = []\nfor _ in range(10 ** 6): x = [x]\npickle.dumps(x)",
        "x = ()\nfor _ in range(10 ** 6): x = (x,)\ndel x\nhash(1)",
        "x = ()\nfor _ in range(10 ** 6): x = (x,)\nhash(x)",
        "import ast; ast.literal_eval('-' * 10 ** 6 + '1')",
        "sys.setrecursionlimit(10 ** 9)\nclass A:\n    def __getattr__(self, n): return getattr(self, n)\nA().x",
        "import itertools\ni = []\nfor _ in range(10 ** 6): i = itertools.chain(i)\nnext(i, None)",
    ]
    for result in arena.attack_all(codes):
        assert result["status"] in ("ok", "error", "memory", "crashed")
