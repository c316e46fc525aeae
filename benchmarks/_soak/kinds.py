"""Programs of every kind, with what has to come of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_executor import Execution, ExecutionResult

MEMORY = 64 * 1024 * 1024
"""What a program may take, in bytes."""
DISK = 16 * 1024 * 1024
"""What it may write to its working directory."""
FLOOD = 4 * 1024 * 1024
"""What all output of one program may come to, in bytes."""
KEPT = 64 * 1024
"""What a result keeps of it."""


@dataclass(frozen=True)
class Kind:
    """Programs of one kind.

    Attributes:
        name: For the table.
        share: How often it is drawn, beside the shares of the others.
        code: The program.
        expected: Keys of the result, with their values.
        timeout: Seconds; None takes the pool's.
        stdin: Text of the standard input.
        files: What is in its working directory.
        starts: What stdout has to start with.
    """

    name: str
    share: int
    code: str
    expected: dict[str, object] = field(default_factory=lambda: {"status": "ok"})
    timeout: float | None = None
    stdin: str | None = None
    files: dict[str, bytes] | None = None
    starts: str = ""

    @property
    def execution(self) -> Execution:
        """The program, as a pool takes it."""
        return Execution(self.code, self.timeout, self.stdin, self.files)

    def complaint(self, result: ExecutionResult) -> str | None:
        """What is wrong with a result; None if it is as expected."""
        plain: dict[str, object] = dict(result)
        found = {key: plain[key] for key in self.expected}
        if found == self.expected and result["stdout"].startswith(self.starts):
            return None
        told = {key: plain[key] for key in ("status", "returncode", "error", "stderr")}
        return f"{self.name}: {found} is not {self.expected}: {told}, {result['stdout'][:80]!r}"


def _ends(code: str, name: str, share: int, status: str, **more: object) -> Kind:
    return Kind(name, share, code, {"status": status, **more})


KINDS = [
    Kind("one line", 300, "print(1 + 1)", starts="2\n"),
    Kind("a value", 100, "x = 41\nx + 1", {"status": "ok", "value": "42"}),
    Kind("ten lines", 60, "for i in range(10): print(i)", starts="0\n1\n"),
    Kind("input", 40, "print(input()[::-1])", stdin="abc", starts="cba"),
    Kind(
        "functions, classes, modules",
        60,
        "import collections, dataclasses, json\n"
        "@dataclasses.dataclass\n"
        "class A:\n    x: int\n"
        "def f(n): return n if n < 2 else f(n - 1) + f(n - 2)\n"
        "print(json.dumps(dataclasses.asdict(A(f(12)))))",
        starts='{"x": 144}',
    ),
    Kind(
        "threads",
        30,
        "import threading\n"
        "threads = [threading.Thread(target=print, args=(i,)) for i in range(8)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
    ),
    Kind(
        "files of its own",
        40,
        "import os, tempfile\n"
        "for i in range(9): os.makedirs(f'a/{i}/b'); open(f'a/{i}/b/c', 'w').write('x' * 9999)\n"
        "os.chdir('a'); os.chmod('0', 0); tempfile.mkdtemp(); print('made')",
        starts="made",
    ),
    Kind(
        "files in and out",
        60,
        "import os; os.makedirs('out/b'); data = open('in/a', 'rb').read()\n"
        "open('out/b/c', 'wb').write(data[::-1])",
        {"status": "ok", "files": {"out/b/c": b"9" * 50_000 + b"0" * 50_000}},
        files={"in/a": b"0" * 50_000 + b"9" * 50_000, "d": b""},
    ),
    Kind(
        "20 MB of memory",
        20,
        "x = bytearray(20_000_000); x[::4096] = b'1' * len(x[::4096]); len(x)",
        {"status": "ok", "value": "20000000"},
    ),
    _ends("print(1)\n1 / 0", "an error", 60, "error", returncode=1, stdout="1\n"),
    _ends("def f(:", "an error of syntax", 20, "error", returncode=1),
    _ends("def f(): f()\nf()", "endless recursion", 10, "error"),
    _ends("import sys; sys.exit(0)", "sys.exit(0)", 20, "ok", returncode=0),
    _ends("import sys; sys.exit(3)", "sys.exit(3)", 20, "error", returncode=3),
    _ends("bytearray(1 << 60)", "too much memory at once", 10, "memory"),
    _ends("print('x' * 300_000)", "output that is cut", 20, "ok", truncated=True),
    _ends("while True: print('x' * 9999)", "a flood", 6, "output", returncode=-9),
    _ends("import os; os._exit(7)", "os._exit", 15, "crashed", returncode=7),
    _ends("import ctypes; ctypes.string_at(0)", "a segmentation fault", 8, "crashed"),
    _ends("import os; os.abort()", "an abort", 8, "crashed", returncode=-6),
    _ends(
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "SIGKILL to itself",
        15,
        "crashed",
        returncode=-9,
    ),
    _ends("import os; os.closerange(0, 1024)", "all descriptors closed", 10, "crashed"),
    Kind("an endless loop", 12, "while True: pass", {"status": "timeout"}, timeout=0.05),
    Kind(
        "an end that is refused",
        8,
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "while True:\n"
        "    try: time.sleep(9)\n"
        "    except BaseException: pass",
        {"status": "timeout", "returncode": -9},
        timeout=0.05,
    ),
    Kind(
        "exit functions that never end",
        4,
        "import atexit, time; atexit.register(time.sleep, 99); print('done')",
        {"status": "timeout"},
        timeout=0.1,
    ),
]
# What only a sandbox refuses or ends.
REFUSED = [
    Kind(
        "processes refused",
        30,
        "import os, subprocess\n"
        "for start in (os.fork, lambda: subprocess.run(['true'])):\n"
        "    try: start()\n"
        "    except PermissionError: print('refused')",
        starts="refused\nrefused\n",
    ),
    Kind(
        "files and sockets refused",
        20,
        "import socket\n"
        "for reach in (lambda: open('/etc/shadow'), lambda: open('/usr/x', 'w'), socket.socket):\n"
        "    try: reach()\n"
        "    except OSError: print('refused')",
        starts="refused\nrefused\nrefused\n",
    ),
    _ends("x = []\nwhile True: x.append(bytearray(1 << 20))", "memory bit by bit", 8, "memory"),
    _ends(
        "import mmap\nx = []\nwhile True:\n"
        "    x.append(mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE))\n    x[-1].write(bytes(1 << 20))",
        "mapped memory",
        4,
        "memory",
    ),
    # Hidden, so that it doesn't come back: pieces of 16 MiB would scatter the host's allocator.
    _ends("f = open('.f', 'wb')\nwhile True: f.write(bytes(1 << 20))", "a full disk", 4, "error"),
]
CANCELLED = Kind(
    "cancelled", 15, "print('begun', flush=True)\nwhile True: pass", {"status": "cancelled"}
)
BATCH = Kind("a batch of eight", 10, "print(2)", starts="2")
