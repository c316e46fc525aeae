"""What a program must not read: the host's processes, files and secrets, and its siblings'."""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from python_executor import ExecutionResult

from ._arena import VARIANTS, Arena, descendants_of, until
from ._host import ROOTS_HOME, SECRET, SHARED, Hoard, Victim
from ._programs import whole


@pytest.fixture(scope="module", params=VARIANTS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    with Arena(namespaces=request.param) as arena:
        yield arena


REFUSED = {"EACCES", "EPERM", "ENOENT"}
READ = """
def read(path):
    def it():
        descriptor = os.open(path, os.O_RDONLY)
        try: return os.read(descriptor, 99)
        finally: os.close(descriptor)
    return told(it)
def listed(path): return told(os.listdir, path)
"""


PROCESS = (
    *("environ", "cmdline", "maps", "mem", "smaps", "smaps_rollup", "stat", "status", "auxv"),
    *("io", "limits", "stack", "syscall", "wchan", "mounts", "mountinfo", "cgroup", "comm"),
    *("pagemap", "sched", "timers", "personality", "task", "fd", "fdinfo", "map_files", "ns"),
    *("root/etc/shadow", "cwd/etc/shadow", "exe", "clear_refs", "coredump_filter", "net/unix"),
)


@pytest.mark.parametrize("whose", ["victim", "host", "root", "slot server", "itself", "init"])
def test_proc_of_no_process_is_readable(arena: Arena, victim: Victim, whose: str) -> None:
    pid = {
        "victim": str(victim.pid),
        "host": str(os.getpid()),
        "root": str(arena.root),
        "slot server": str(arena.servers[0]),
        "itself": "self",
        "init": "1",
    }[whose]
    # Its own executable is the interpreter, which may be read.
    names = [name for name in PROCESS if (pid, name) != ("self", "exe")]
    paths = [f"/proc/{pid}/{name}" for name in names]
    seen = arena.seen(f"{READ}{{path: (read(path), listed(path)) for path in {paths!r}}}")
    refused = REFUSED | {"ENOTDIR", "EINVAL", "EISDIR"}
    assert {path: got for path, got in seen.items() if not set(got) <= refused} == {}


def test_links_of_processes_are_not_readable(arena: Arena, victim: Victim) -> None:
    # readlink is no reading to Landlock: what guards these is that no process may be traced.
    paths = [
        f"/proc/{pid}/{name}"
        for pid in (victim.pid, os.getpid(), os.getppid(), 1)
        for name in ("exe", "cwd", "root", "fd/0", "fd/1", "ns/net")
    ]
    seen = arena.seen(f"{{path: told(os.readlink, path) for path in {paths!r}}}")
    assert {path: got for path, got in seen.items() if got not in REFUSED} == {}


def test_a_sibling_that_runs_is_not_readable(arena: Arena) -> None:
    marker = f"{SECRET}-of-a-sibling"
    code = f"""
import os, time
open("mine", "w").write({marker!r})
os.environ["SIBLING"] = {marker!r}
while not os.path.exists("end"): time.sleep(0.001)
"""
    results: list[ExecutionResult] = []
    sibling = threading.Thread(target=lambda: results.append(arena.executor.execute(code)))
    sibling.start()
    until(lambda: any(path.read_text() == marker for path in arena.directory.glob("*/*/mine")))
    (theirs,) = arena.directory.glob("*/*/mine")
    # The same path through the eyes of programs.
    path = f"{arena.inner_directory}/{theirs.parent.parent.name}/{theirs.parent.name}/mine"
    pids = [pid for server in arena.servers for pid in descendants_of(server)]
    paths = [f"/proc/{pid}/{name}" for pid in pids for name in ("environ", "mem", "maps", "fd")]
    code = f"""
{READ}
import glob
mine, folder = {path!r}, os.path.dirname({path!r})
seen = {{path: read(path) for path in {paths!r} if f"/{{os.getpid()}}/" not in path}}
folders = [listed(path) for path in ("../..", "../../..", folder, os.path.dirname(folder))]
opened = told(os.open, folder, os.O_PATH | os.O_DIRECTORY)
below = told(os.open, "mine", os.O_RDONLY, dir_fd=opened) if isinstance(opened, int) else opened
taken = [read(mine), told(open, mine, "a"), told(os.link, mine, "copy"), told(os.rename, mine, "copy")]
signals = [told(os.kill, pid, 0) for pid in {pids!r} if pid != os.getpid()]
seen, folders, below, taken, signals, glob.glob("../../*/*/mine")
"""
    result = arena.executor.execute(whole(code))
    (theirs.parent / "end").touch()
    sibling.join()
    arena.assert_unharmed()
    assert results[0]["status"] == "ok"
    assert result["value"] is not None, result
    seen, folders, below, taken, signals, found = ast.literal_eval(result["value"])
    assert {path: got for path, got in seen.items() if got not in REFUSED} == {}
    assert {*folders, below, *signals} <= REFUSED
    assert set(taken) <= REFUSED | {"EXDEV"}
    assert found == []


SYSTEM = (
    *(
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/etc/ssh/ssh_host_rsa_key",
        "/etc/machine-id",
    ),
    *("/etc/hostname", "/etc/fstab", "/etc/crontab"),
    *(f"{ROOTS_HOME}/.bashrc", f"{ROOTS_HOME}/.ssh/id_rsa"),
    *("/dev/mem", "/dev/kmem", "/dev/kmsg", "/dev/port", "/dev/tty", "/dev/ptmx", "/dev/sda"),
    *("/dev/vda", "/dev/console", "/dev/fuse", "/dev/kvm", "/dev/loop0", "/dev/net/tun"),
    *("/dev/input/event0", "/dev/userfaultfd", "/dev/cpu_dma_latency", "/dev/btrfs-control"),
    *("/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/version", "/proc/cmdline"),
    *("/proc/modules", "/proc/mounts", "/proc/net/tcp", "/proc/net/unix", "/proc/sysvipc/shm"),
    *("/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/interrupts"),
    *("/proc/timer_list", "/proc/uptime", "/proc/loadavg", "/proc/1/environ"),
    *("/sys/kernel/notes", "/sys/class/net/lo/address", "/sys/fs/cgroup/cgroup.procs"),
    *("/sys/kernel/debug", "/sys/kernel/tracing/trace", "/sys/firmware/dmi/tables/DMI"),
    *("/sys/power/state", "/sys/class/dmi/id/product_uuid", "/run/secrets", "/run/docker.sock"),
    *("/var/run/docker.sock", "/var/log/syslog", "/var/log/dpkg.log", "/var/lib/dpkg/status"),
    *("/var/spool/cron", "/home", ROOTS_HOME, "/tmp", "/var/tmp", "/dev/shm", "/dev", "/dev/pts"),
    *("/proc", "/sys", "/sys/class", "/run", "/", "/etc", "/etc/ssl/private", "/boot", "/mnt"),
    *("/media", "/srv", "/opt", "/var", "/var/lib", "/lost+found", "/.dockerenv", "/proc/self"),
)


def test_the_systems_secrets_are_not_readable(arena: Arena) -> None:
    seen = arena.seen(f"{READ}{{path: (read(path), listed(path)) for path in {SYSTEM!r}}}")
    refused = REFUSED | {"ENOTDIR", "EISDIR", "ENXIO"}
    assert {path: got for path, got in seen.items() if not set(got) <= refused} == {}


def test_the_hosts_own_files_are_not_readable(arena: Arena) -> None:
    places = [str(Path.home()), str(Path(__file__).resolve().parents[4]), str(Path.cwd()), __file__]
    places += [arena.inner_directory, str(Path(SHARED))]
    # Where the interpreter itself lives there is nothing secret, and it must be read.
    import sys

    places = [p for p in places if not any(q.startswith(p) for q in (sys.prefix, *sys.path) if q)]
    seen = arena.seen(f"{READ}{{path: (read(path), listed(path)) for path in {places!r}}}")
    assert {p: got for p, got in seen.items() if not set(got) <= REFUSED | {"ENOTDIR"}} == {}


WAYS = {
    "open": "open(secret).read()",
    "relative path": "open(os.path.relpath(secret)).read()",
    "up from the working directory": "open('../' * 20 + secret).read()",
    "symbolic link": "os.symlink(secret, 'link'); open('link').read()",
    "symbolic link to the folder": "os.symlink(folder, 'link'); open('link/secret').read()",
    "hard link": "os.link(secret, 'link'); open('link').read()",
    "hard link by descriptor": (
        "fd = os.open(secret, os.O_PATH); r = call('linkat', fd, b'', -100, b'link', 0x1000)\n"
        "raise OSError(getattr(errno, r), '') if isinstance(r, str) else 0\nopen('link').read()"
    ),
    "rename": "os.rename(secret, 'moved'); open('moved').read()",
    "exchange": (
        "open('x', 'w').close(); r = call('renameat2', -100, b'x', -100, secret.encode(), 2)\n"
        "raise OSError(getattr(errno, r), '') if isinstance(r, str) else 0\nopen('x').read()"
    ),
    "below an open directory": (
        "fd = os.open(folder, os.O_PATH); open('secret', opener=lambda p, f: os.open(p, f, dir_fd=fd)).read()"
    ),
    "after chdir": "os.chdir(folder); open('secret').read()",
    "listing": "os.listdir(folder)",
    "listing below": "os.listdir(folder + '/folder')",
    "read and write": "open(secret, 'r+').read()",
    "own root": "open('/proc/self/root' + secret).read()",
    "own working directory": "os.chdir(folder); open('/proc/self/cwd/secret').read()",
    "through a descriptor": ("fd = os.open(secret, os.O_PATH); open(f'/proc/self/fd/{fd}').read()"),
    "through a descriptor, another name": (
        "fd = os.open(secret, os.O_PATH); open(f'/dev/fd/{fd}').read()"
    ),
    "reading a path descriptor": "fd = os.open(secret, os.O_PATH); os.read(fd, 99)",
    "mapping": (
        "import mmap; fd = os.open(secret, os.O_RDONLY)\nmmap.mmap(fd, 0, prot=mmap.PROT_READ)[:]"
    ),
    "copying": "import shutil; shutil.copyfile(secret, 'copy'); open('copy').read()",
    "opening in C": (
        "libc.fopen.restype = ctypes.c_void_p\n"
        "if not libc.fopen(secret.encode(), b'r'): raise OSError(ctypes.get_errno(), '')"
    ),
    "import": "sys.path.insert(0, folder); import secret as module; vars(module)",
    "shared library": "ctypes.CDLL(secret)",
    "source lines": "import linecache; linecache.getline(secret, 1) or os.open(secret, 0)",
    "system call": (
        "r = call('openat', -100, secret.encode(), 0)\n"
        "raise OSError(getattr(errno, r), '') if isinstance(r, str) else os.read(r, 99)"
    ),
    "openat2": (
        "r = call('openat2', -100, secret.encode(), ctypes.byref((ctypes.c_uint64 * 3)()), 24)\n"
        "raise OSError(getattr(errno, r), '') if isinstance(r, str) else os.read(r, 99)"
    ),
    "creat": (
        "r = call('openat', -100, secret.encode(), 0o100 | 2, 0o777)\n"
        "raise OSError(getattr(errno, r), '') if isinstance(r, str) else os.read(r, 99)"
    ),
    "file handle": (
        "h = (ctypes.c_uint32 * 40)(128); m = ctypes.c_int()\n"
        "r = call('name_to_handle_at', -100, secret.encode(), h, ctypes.byref(m), 0)\n"
        "r = r if isinstance(r, str) else call('open_by_handle_at', os.open('.', 0), h, 0)\n"
        "raise OSError(getattr(errno, r), '') if isinstance(r, str) else os.read(r, 99)"
    ),
    "extended attributes": "os.listxattr(secret); os.getxattr(secret, 'user.x')",
    "execution": "os.execv(secret, [secret])",
    "in a thread": (
        "import threading; got = []\n"
        "t = threading.Thread(target=lambda: got.append(told(lambda: open(secret).read())))\n"
        "t.start(); t.join()\nraise OSError(getattr(errno, got[0], 0), '') if got[0].isupper() else got[0]"
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_file_of_the_host_can_not_be_read(arena: Arena, hoard: Hoard, name: str) -> None:
    names = f"secret, folder = {str(hoard.path / 'secret')!r}, {str(hoard.path)!r}\n"
    result = arena.attack(names + WAYS[name])
    hoard.assert_unharmed()
    assert (result["status"], result["value"]) == ("error", None), result
    assert result["error"] is not None
    kinds = ("PermissionError", "OSError", "ModuleNotFoundError", "FileNotFoundError")
    assert result["error"]["type"] in kinds, result["error"]
    assert SECRET not in result["stdout"] + result["stderr"]


def test_the_environment_holds_nothing_of_the_hosts(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
libc.getenv.restype = ctypes.c_char_p
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, "environ")
block, index = [], 0
while environ[index]: block.append(environ[index].decode()); index += 1
# What execve put above the stack, whatever was unset since, is memory of the process as well.
top = ctypes.cast(environ[0], ctypes.c_void_p).value
sorted({name.partition("=")[0] for name in block} | set(os.environ))
"""
    names = arena.seen(code)
    secret = {n for n in os.environ if any(w in n for w in ("KEY", "TOKEN", "SECRET", "PASSW"))}
    assert not secret & set(names)
    assert not {n for n in names if n.startswith(("PYTEST", "SSH", "AWS", "VICTIM"))}


def test_the_command_line_holds_nothing_of_the_pools(arena: Arena) -> None:
    command = arena.seen("import sys; sys.orig_argv[1:]")
    assert command[:3] == ["-I", "-X", "utf8"]
    assert [word.rpartition("/")[2] for word in command[3:-1]] == ["boot.py"]
    assert command[-1].isdecimal()  # the descriptor of a socket that programs don't have
