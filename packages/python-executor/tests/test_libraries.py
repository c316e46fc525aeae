"""``ctypes.util.find_library`` works without starting a process."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import platform
import struct
from pathlib import Path

import pytest

from python_executor import PythonExecutorService
from python_executor._child import libraries

NAMES = ["c", "m", "z", "stdc++", "ssl", "dl", "no_such_library", "", "c.so", "../c", "c\n"]


def test_a_program_finds_and_loads_libraries(executor: PythonExecutorService) -> None:
    code = (
        "import os, subprocess\nsubprocess.Popen = os.fork = os.posix_spawn = None\n"
        "import ctypes.util\nfrom ctypes.util import find_library\n"
        "assert find_library is ctypes.util.find_library\n"
        "m = ctypes.CDLL(find_library('m')); m.cos.restype = ctypes.c_double\n"
        "m.cos(ctypes.c_double(0)), ctypes.CDLL(find_library('c')).getpid() == os.getpid(),"
        " find_library('no_such_library')"
    )
    assert executor.execute(code)["value"] == "(1.0, True, None)"


@pytest.mark.skipif(not os.access("/sbin/ldconfig", os.X_OK), reason="the usual way needs it")
@pytest.mark.parametrize("name", NAMES)
def test_it_gives_what_the_usual_way_gives(name: str) -> None:
    assert libraries.find_library(name) == ctypes.util.find_library(name)


def cache(*entries: tuple[int, str]) -> bytes:
    """A linker's cache of libraries (flags, name)."""
    strings = b""
    table = b""
    start = 48 + 24 * len(entries)
    for flags, name in entries:
        key = start + len(strings)
        strings += name.encode() + b"\0/usr/lib/" + name.encode() + b"\0"
        table += struct.pack("=iIIIQ", flags, key, key + len(name) + 1, 0, 0)
    head = struct.pack("=20sII20x", b"glibc-ld.so.cache1.1", len(entries), len(strings))
    return head + table + strings


def test_only_libraries_for_this_machine_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache"
    mine = {"x86_64": 0x0303, "aarch64": 0x0A03}.get(platform.machine(), 0x0003)
    old_table = b"ld.so-1.7.0\0" + bytes(20)
    entries = [(0x0103, "libx.so.3"), (mine, "libx.so.2"), (mine, "libx.so.1"), (mine, "liby.so")]
    path.write_bytes(old_table + cache(*entries))
    monkeypatch.setattr(libraries, "CACHE", str(path))
    expected = "libx.so.2" if platform.machine() in ("x86_64", "aarch64") else "libx.so.3"
    assert libraries.find_library("x") == expected
    assert libraries.find_library("y") == "liby.so"
    assert libraries.find_library("nothing_of_that_name") is None


@pytest.mark.parametrize("content", [None, b"", b"something else", b"glibc-ld.so.cache1.1\xff"])
def test_without_a_cache_folders_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "cache").write_bytes(content)
    monkeypatch.setattr(libraries, "CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "lib"
    folder.mkdir()
    for name, data in {
        "libmine.so": b"\x7fELF",
        "libmine.so.12": b"\x7fELF",
        "libmine.so.12.3": b"\x7fELF",
        "libmine.so.txt": b"text",
        "libscript.so": b"GROUP ( /lib/libscript.so.6 )",
        "libonly.so": b"\x7fELF",
    }.items():
        (folder / name).write_bytes(data)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nonexistent:{folder}:")
    assert libraries.find_library("mine") == "libmine.so.12"
    assert libraries.find_library("only") == "libonly.so"
    assert libraries.find_library("script") is None
    monkeypatch.delenv("LD_LIBRARY_PATH")
    found = libraries.find_library("m")
    assert found is not None
    assert ctypes.CDLL(found).abs(-3) == 3
