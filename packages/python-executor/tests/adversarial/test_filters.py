"""Programs that go for the sandbox itself: its filters, its domain, its limits, other ABIs."""

from __future__ import annotations

import platform
import signal
from collections.abc import Iterator

import pytest

from ._arena import VARIANTS, Arena


@pytest.fixture(scope="module", params=VARIANTS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    with Arena(namespaces=request.param) as arena:
        yield arena


REFUSED = {"EPERM", "ENOSYS", "EACCES", "EROFS"}
# What must still be refused after each attack.
STILL = """
[
    r if isinstance(r := told(f), str) else "made" for f in (
        lambda: open("/etc/shadow"), lambda: open("/tmp/python-executor-attack", "w"),
        lambda: os.kill(os.getppid(), 0), lambda: call("socket", 2, 1, 0), lambda: call("unshare", 0),
        lambda: call("ptrace", 0, 0, 0, 0), lambda: os.listdir("/proc/self"),
    )
]
"""

ATTACKS = {
    "nothing": "",
    "own memory as a file": "told(open, '/proc/self/mem', 'r+b')",
    "a filter that allows all": """
class Fprog(ctypes.Structure): _fields_ = [("n", ctypes.c_ushort), ("p", ctypes.c_void_p)]
code = (ctypes.c_uint64 * 1)(0x7FFF000000000006)
prog = Fprog(1, ctypes.addressof(code))
got = call("seccomp", 1, 0, ctypes.byref(prog)), call("seccomp", 1, 1, ctypes.byref(prog))
got += libc.prctl(22, 2, ctypes.byref(prog)), libc.prctl(22, 1, 0), libc.prctl(22, 0, 0)
assert all(g in ("EPERM", -1) for g in got), got
""",
    "a listener for the filter": """
class Fprog(ctypes.Structure): _fields_ = [("n", ctypes.c_ushort), ("p", ctypes.c_void_p)]
code = (ctypes.c_uint64 * 1)(0x7FFF000000000006)
assert call("seccomp", 1, 8, ctypes.byref(Fprog(1, ctypes.addressof(code)))) == "EPERM"
""",
    "another domain": """
attributes = (ctypes.c_uint64 * 3)(1 << 2, 0, 0)
got = call("landlock_create_ruleset", attributes, 24, 0), call("landlock_add_rule", 0, 1, attributes, 0)
got += call("landlock_restrict_self", 0, 0),
assert set(got) <= {"EPERM", "EBADFD"}, got
""",
    "new privileges": "assert libc.prctl(38, 0, 0, 0, 0) == -1",
    "to be dumpable": "assert libc.prctl(4, 1, 0, 0, 0) == -1",
    "to be traced by anybody": "assert libc.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0) == -1",
    "ambient capabilities": "assert libc.prctl(47, 2, 21, 0, 0) == -1",
    "kept capabilities": "assert libc.prctl(8, 1, 0, 0, 0) == -1 and libc.prctl(28, 0, 0, 0, 0) == -1",
    "all users": "assert set(call(n, 0, 0, 0) for n in ('setuid', 'setresuid', 'setreuid')) <= {'EPERM'}",
    "own code overwritten": """
import mmap
# The C library's wrappers are the program's own memory: overwriting them changes nothing of the kernel's.
page = ctypes.cast(libc.prctl, ctypes.c_void_p).value & -4096
assert call("mprotect", page, 8192, 7) in (0, "EPERM", "EACCES")
ctypes.memset(page + 16, ctypes.string_at(page + 16, 1)[0], 1)
""",
    "the sandbox's own modules": """
for name, module in list(sys.modules.items()):
    if name.startswith("_python_executor_child."):
        for inner in list(vars(module)):
            if inner in ("restrict", "install", "program_filter"): setattr(module, inner, print)
""",
    "threads": """
import threading
got = []
def f(): got.append((told(open, "/etc/shadow"), call("unshare", 0), told(os.kill, os.getppid(), 0)))
threads = [threading.Thread(target=f) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
assert set(got) <= {("EACCES", "EPERM", "EPERM")}, got
""",
    "signal handlers": """
got = []
signal.signal(signal.SIGUSR1, lambda *_: got.append((told(open, "/etc/shadow"), call("unshare", 0))))
os.kill(os.getpid(), signal.SIGUSR1)
assert got == [("EACCES", "EPERM")], got
""",
    "many at once": """
import threading
def spin():
    while True: told(open, "/etc/shadow"); call("unshare", 0); told(os.kill, os.getppid(), 0)
for _ in range(4): threading.Thread(target=spin, daemon=True).start()
import time; time.sleep(0.1)
""",
    "other working directories": "os.chdir('/'); told(os.chroot, '.'); told(os.fchdir, 0)",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_sandbox_holds_after(arena: Arena, name: str) -> None:
    seen = arena.seen(ATTACKS[name] + STILL)
    assert set(seen) <= REFUSED | {"ENOENT"}


# Every option of prctl(2) that is no question.
OPTIONS = [
    *(1, 4, 6, 8, 10, 12, 14, 19, 22, 24, 26, 28, 29, 31, 33, 35, 36, 38, 41, 43, 44, 45, 47, 50),
    *(52, 53, 54, 55, 57, 59, 60, 61, 62, 63, 65, 67, 69, 71, 72, 74, 75, 76, 77, 78, 79, 1000),
    *(0x59616D61, 0x4D4D454D),
]


def test_prctl_sets_nothing_but_names(arena: Arena) -> None:
    code = f"""
got = {{}}
for option in {OPTIONS!r}:
    ctypes.set_errno(0)
    result = libc.prctl(option, ctypes.c_ulong(0), ctypes.c_ulong(0), 0, 0)
    got[option] = errno.errorcode[ctypes.get_errno()] if result == -1 else result
{{option: result for option, result in got.items() if result != "EPERM"}}
"""
    assert arena.seen(code) == {}


def machine_code(body: bytes) -> str:
    return f"""
import mmap
code = {body!r}
page = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
page.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
run = ctypes.CFUNCTYPE(ctypes.c_long)(address)
"""


intel = pytest.mark.skipif(platform.machine() != "x86_64", reason="other ABIs are x86's")


@intel
def test_own_machine_code_is_refused_the_same(arena: Arena) -> None:
    # mov eax, 272 (unshare); xor edi, edi; syscall; ret
    code = machine_code(b"\xb8\x10\x01\x00\x00\x31\xff\x0f\x05\xc3")
    assert arena.seen(code + "run()") == -1


ENTRIES = {
    # mov eax, 20 (getpid of 32 bits); int 0x80; ret
    "32 bits": machine_code(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3") + "run()",
    # The same number in 64 bits is writev: a filter that forgets the ABI allows it.
    "32 bits, open": machine_code(b"\xb8\x05\x00\x00\x00\xcd\x80\xc3") + "run()",
    "32 bits, ptrace": machine_code(b"\xb8\x1a\x00\x00\x00\x31\xdb\xcd\x80\xc3") + "run()",
    "x32": "call(0x40000000 | 39)",
    "x32, ptrace": "call(0x40000000 | 521, 0, 0, 0, 0)",
    "x32, exec": "call(0x40000000 | 520, b'/bin/true', 0, 0)",
    "x32, a number of 64 bits": "call(0x40000000 | 59, b'/bin/true', 0, 0)",
}


@intel
@pytest.mark.parametrize("name", ENTRIES)
def test_other_entries_to_the_kernel_are_closed(arena: Arena, name: str) -> None:
    result = arena.attack(ENTRIES[name])
    if result["status"] == "crashed":
        assert result["returncode"] in (-signal.SIGSYS, -signal.SIGSEGV)
    else:
        assert result["value"] in ("'EPERM'", "'ENOSYS'", "-38", "-1")


def test_numbers_beyond_all_calls_are_refused(arena: Arena) -> None:
    code = "[call(n) for n in (500, 1000, 0x3fffffff, -2, 0xffffffff, 2 ** 32 + 39, 2 ** 40)]"
    result = arena.attack(code)
    if result["status"] == "ok":
        # A number is 32 bits to the kernel: the one with 2 ** 32 is getpid.
        got = eval(result["value"] or "")
        assert set(got[:4]) <= {"EPERM", "ENOSYS"}
        assert all(g in ("EPERM", "ENOSYS") or isinstance(g, int) for g in got)
    else:
        assert (result["status"], result["returncode"]) == ("crashed", -signal.SIGSYS)


def test_arguments_of_64_bits_deceive_no_check(arena: Arena) -> None:
    # The filter looks at words of 32 bits, as the kernel does for these; the upper half is noise.
    high = 1 << 32
    code = f"""
pid, parent, high = os.getpid(), os.getppid(), {high}
[
    call("kill", parent + high, 0), call("kill", -high + parent, 0), call("kill", -1, 0),
    call("kill", -parent, 0), call("tgkill", parent, parent, 0), call("tkill", parent, 0),
    call("tgkill", pid, parent, 0), call("clone", high | 17, 0, 0, 0, 0),
    call("ioctl", 0, high | 0x5412, b"x"), call("fcntl", 1, high | 8, parent),
    call("fcntl", 1, high | 4, 0x2000), call("fcntl", 1, 4, high | 0x2000),
    call("socketpair", high | 1, 2, 0, ctypes.byref((ctypes.c_int * 2)())),
    call("socketpair", 1, high | 2 | 0x80000, 0, ctypes.byref((ctypes.c_int * 2)())),
    call("prlimit64", high | parent, 7, 0, ctypes.byref((ctypes.c_uint64 * 2)())),
    call("mknodat", -100, b"x", high | 0o20777, 0x103), call("personality", high | 0x40000),
    libc.prctl(ctypes.c_long(high | 1), 0, 0, 0, 0) and "EPERM",
]
"""
    seen = arena.seen(code)
    assert [got for got in seen if got not in ("EPERM", "ESRCH", "ENOTTY")] == []


def test_limits_can_not_be_raised(arena: Arena) -> None:
    code = """
import resource
raised = []
for name in dir(resource):
    if not name.startswith("RLIMIT_") or name == "RLIMIT_CPU": continue
    number = getattr(resource, name)
    soft, hard = resource.getrlimit(number)
    for wanted in ((hard + 1, hard + 1), (-1, -1)) if hard != -1 else ():
        try: resource.setrlimit(number, wanted); raised.append(name)
        except (OSError, ValueError): pass
limits = {n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith("RLIMIT_")}
raised, {n: limits[n][1] for n in (
    "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE", "RLIMIT_MEMLOCK",
)}
"""
    raised, limits = arena.seen(code)
    assert raised == []
    assert limits["RLIMIT_CORE"] <= 1  # where the host may have any, 1, which dumps into no pipe
    assert [name for name, value in limits.items() if value == -1] == []


def test_a_program_has_no_descriptor_of_the_sandboxs(arena: Arena) -> None:
    code = """
opened = []
for number in range(4096):
    try: os.fstat(number); opened.append(number)
    except OSError: pass
opened == [0, 1, 2, control()]
"""
    assert arena.seen(code) is True


def test_clocks_of_other_processes_are_not_to_be_read(arena: Arena) -> None:
    # clock_getcpuclockid(3): a pid's complement, shifted; 2 is CPU time, 4 one thread's.
    code = """
import time
def read(clock):
    try: return time.clock_gettime(clock) * 0
    except OSError as error: return errno.errorcode[error.errno]
[read((~pid << 3) | kind) for pid in (os.getppid(), 1) for kind in (2, 6)] + [
    call("timer_create", (~os.getppid() << 3) | 2, 0, ctypes.byref(ctypes.c_int())),
    read(time.CLOCK_PROCESS_CPUTIME_ID), read(time.CLOCK_THREAD_CPUTIME_ID), time.thread_time() * 0,
]
"""
    assert arena.seen(code) == ["EINVAL"] * 5 + [0.0] * 3


def test_pages_that_others_read_are_not_to_be_evicted(arena: Arena) -> None:
    code = """
file = os.open(os.__file__, os.O_RDONLY)
[call("fadvise64", file, 0, 0, advice) for advice in (0, 1, 3, 4)]
"""
    assert arena.seen(code) == [0, 0, 0, "EINVAL"]
