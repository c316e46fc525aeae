"""What a program must not write: files of the host, of Python, of siblings, and their names."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from ._arena import VARIANTS, Arena
from ._host import ROOTS_HOME, Hoard


@pytest.fixture(scope="module", params=VARIANTS)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    with Arena(namespaces=request.param) as arena:
        yield arena


REFUSED = {"EACCES", "EPERM", "EXDEV", "EROFS", "ENOENT", "ENOSYS"}


# Each returns what it was told; ``secret`` is a file, ``folder`` holds it, all with mode 0777.
WAYS = {
    "overwrite": "told(open, secret, 'w')",
    "append": "told(open, secret, 'a')",
    "update": "told(open, secret, 'r+')",
    "open for truncation": "told(os.open, secret, os.O_RDONLY | os.O_TRUNC)",
    "truncate": "told(os.truncate, secret, 0)",
    "new file": "told(open, folder + '/new', 'x')",
    "new file beside a link": "os.symlink(folder, 'f') or told(open, 'f/new', 'x')",
    "nameless file": "told(os.open, folder, os.O_TMPFILE | os.O_RDWR)",
    "new folder": "told(os.mkdir, folder + '/new')",
    "remove": "told(os.unlink, secret)",
    "remove a folder": "told(os.rmdir, folder + '/folder')",
    "remove a tree": "__import__('shutil').rmtree(folder, ignore_errors=True) or told(open, secret)",
    "rename": "told(os.rename, secret, folder + '/new')",
    "move out": "told(os.rename, secret, 'moved')",
    "move a folder out": "told(os.rename, folder + '/folder', 'moved')",
    "move in": "open('x', 'w').close() or told(os.rename, 'x', folder + '/new')",
    "replace": "open('x', 'w').close() or told(os.replace, 'x', secret)",
    "exchange": (
        "open('x', 'w').close() or call('renameat2', -100, b'x', -100, secret.encode(), 2)"
    ),
    "whiteout": "call('renameat2', -100, secret.encode(), -100, b'x', 4)",
    "link out": "told(os.link, secret, 'link')",
    "link in": "open('x', 'w').close() or told(os.link, 'x', folder + '/new')",
    "link beside": "told(os.link, secret, folder + '/new')",
    "symbolic link in": "told(os.symlink, '/etc/passwd', folder + '/new')",
    "pipe": "told(os.mkfifo, folder + '/new')",
    "socket": "told(os.mknod, folder + '/new', 0o140777)",
    "device": "told(os.mknod, 'new', 0o20777, os.makedev(1, 1))",
    "block device": "told(os.mknod, 'new', 0o60777, os.makedev(254, 0))",
    "through a symbolic link": "os.symlink(secret, 'l') or told(open, 'l', 'w')",
    "through a dangling link": "os.symlink(folder + '/new', 'l') or told(open, 'l', 'w')",
    "through an own path": "told(open, '/proc/self/root' + secret, 'w')",
    "through a path descriptor": (
        "told(open, '/proc/self/fd/%d' % os.open(secret, os.O_PATH), 'w')"
    ),
    "writing a path descriptor": "told(os.write, os.open(secret, os.O_PATH), b'x')",
    "below an open folder": (
        "told(os.open, 'new', os.O_WRONLY | os.O_CREAT, dir_fd=os.open(folder, os.O_PATH))"
    ),
    "after chdir": "os.chdir(folder) or told(open, 'new', 'w')",
    "owner": "told(os.chown, secret, os.getuid(), os.getgid())",
    "owner of a link": "os.symlink(secret, 'l') or told(os.chown, 'l', 1, 1)",
    "attribute": "told(os.setxattr, secret, 'user.x', b'x')",
    "attribute removed": "told(os.removexattr, secret, 'user.x')",
    "copy range": (
        "call('copy_file_range', os.open('x', os.O_RDWR | os.O_CREAT), 0,"
        " os.open(secret, os.O_PATH), 0, 9, 0)"
    ),
    "mapping": "told(lambda: __import__('mmap').mmap(os.open(secret, os.O_RDWR), 0))",
    "database": ("told(lambda: __import__('dbm.dumb', fromlist=['x']).open(folder + '/new', 'n'))"),
}


@pytest.mark.parametrize("name", WAYS)
def test_a_file_of_the_host_can_not_be_changed(arena: Arena, hoard: Hoard, name: str) -> None:
    names = f"secret, folder = {str(hoard.path / 'secret')!r}, {str(hoard.path)!r}\n"
    seen = arena.seen(names + WAYS[name])
    hoard.assert_unharmed()
    assert seen in REFUSED | {"EBADF"}


METADATA = {
    "mode": "told(os.chmod, secret, 0)",
    "mode of the folder": "told(os.chmod, folder, 0)",
    "mode by descriptor": "told(os.chmod, os.open(secret, os.O_PATH), 0)",
    "mode by system call": "call('fchmodat2', -100, secret.encode(), 0, 0x100)",
    "times": "told(os.utime, secret, (1, 1))",
    "times now": "told(os.utime, secret)",
    "times by descriptor": "call('utimensat', os.open(secret, os.O_PATH), 0, 0, 0)",
    "mode of /": "told(os.chmod, '/', 0o755)",
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata_of_the_host_stays_whatever_the_program_is_told(
    arena: Arena, hoard: Hoard, name: str
) -> None:
    # It is told that it succeeded, because shutil.copy and zipfile would fail otherwise.
    before = Path("/").stat()
    names = f"secret, folder = {str(hoard.path / 'secret')!r}, {str(hoard.path)!r}\n"
    (seen,) = arena.seen(f"{names}[{METADATA[name]}]")
    hoard.assert_unharmed()
    assert seen in {None, 0, "EPERM", "EACCES", "EBADF", "ENOSYS"}
    assert Path("/").stat().st_ctime_ns == before.st_ctime_ns


PLACES = [
    *("/tmp", "/var/tmp", "/dev/shm", "/dev", "/run", "/var", "/etc", "/usr/bin", ROOTS_HOME, "/"),
    *(str(Path.home()), str(Path.cwd()), sysconfig.get_paths()["purelib"], sys.prefix),
    *(sysconfig.get_paths()["stdlib"], "../..", "../../.."),
]


def test_no_file_can_be_made_outside_the_own_folder(arena: Arena) -> None:
    code = f"""
def tried(place):
    name = place + "/python-executor-attack"
    made = [
        told(open, name, "x"), told(os.mkdir, name + "-d"), told(os.symlink, "x", name + "-l"),
        told(os.mkfifo, name + "-p"), told(os.open, place, os.O_TMPFILE | os.O_RDWR),
    ]
    return [m if isinstance(m, str) else "made" for m in made]
{{place: tried(place) for place in {PLACES!r}}}
"""
    seen = arena.seen(code)
    refused = REFUSED | {"ENOENT", "EOPNOTSUPP", "EISDIR"}
    assert {place: got for place, got in seen.items() if not set(got) <= refused} == {}
    for place in PLACES[:-2]:
        assert not list(Path(place).glob("python-executor-attack*"))


def test_what_runs_next_can_not_be_changed(arena: Arena) -> None:
    code = """
import json, site, encodings
files = [json.__file__, os.__file__, encodings.__file__, sys.executable, ctypes.__file__]
files += [m.__file__ for n, m in list(sys.modules.items()) if "python_executor" in n and m.__file__]
files += ["/etc/passwd", "/etc/ld.so.preload", "/etc/ld.so.cache", "/lib/x86_64-linux-gnu/libc.so.6"]
[(f, r) for f in files for mode in ("r+b", "ab") if not isinstance(r := told(open, f, mode), str)]
"""
    assert arena.seen(code) == []


def test_the_own_folder_can_be_moved_or_replaced_without_effect(arena: Arena, hoard: Hoard) -> None:
    # What the server removes afterwards, and makes anew, is by path: a link in its place would be
    # followed, a name that is taken would keep the next program out.
    code = f"""
here, target = os.getcwd(), {str(hoard.path)!r}
up, name = os.path.split(here)
told(os.rename, up, up + "-moved")
told(os.rename, here, target + "/moved")
told(os.rename, here, up + "/moved")
for link in (here, up, *(f"{{up}}/{{int(name) + n}}" for n in range(40) if name.isdigit())):
    told(os.symlink, target, link)
for n in range(40, 80): told(os.mkdir, f"{{up}}/{{n}}"), told(os.open, f"{{up}}/x{{n}}", os.O_CREAT)
"""
    for _ in range(3):
        assert arena.attack(code)["status"] == "ok"
        hoard.assert_unharmed()


def test_what_is_removed_afterwards_is_never_followed_out(arena: Arena, hoard: Hoard) -> None:
    code = f"""
import threading
target = {str(hoard.path)!r}
os.makedirs("a/b/c")
for place in (".", "a", "a/b", "a/b/c"):
    for number in range(20): os.symlink(target, f"{{place}}/link{{number}}")
os.symlink(target + "/secret", "a/secret")
os.symlink("..", "a/up"); os.symlink(".", "a/self"); os.symlink("loop", "loop")
def swap():
    # While the host looks, and then removes: a folder, a link, a folder ...
    while True:
        os.rename("a", "x"); os.symlink(target, "a"); os.unlink("a"); os.rename("x", "a")
for _ in range(2): threading.Thread(target=swap, daemon=True).start()
import time; time.sleep(0.3)
"""
    for _ in range(2):
        assert arena.attack(code)["status"] == "ok"
        hoard.assert_unharmed()


def test_names_that_no_shell_likes_are_removed(arena: Arena) -> None:
    code = r"""
names = [b"\xff\xfe", b"-rf", b"\n", b"a" * 255, b" ", b"*", b"\x01\x1b[2J", b".moved-1-1", b"..."]
for name in names:
    os.mkdir(name); open(name + b"/" + name, "w").close(); os.mkdir(name + b"/.moved-2-1")
for n in range(9): os.makedirs(b".moved-%d-%d/x/y" % (os.getppid(), n), 0o700); os.mkdir(b"d%d" % n, 0)
len(os.listdir("."))
"""
    assert arena.seen(code) == 27
