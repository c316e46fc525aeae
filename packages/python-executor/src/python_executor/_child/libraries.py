"""``ctypes.util.find_library`` without starting compilers and linkers, which programs may not."""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH123, PTH208
from __future__ import annotations

import os
import sys
from struct import Struct, error
from typing import Any

# Where the dynamic linker keeps what ldconfig(8) found.
CACHE = "/etc/ld.so.cache"
_MAGIC = b"glibc-ld.so.cache1.1"
# glibc's sysdeps/generic/dl-cache.h: number of libraries, length of the strings; then each library.
_HEADER = Struct("=20sII20x")
_ENTRY = Struct("=iIIIQ")
# Libraries for glibc 2 on these machines; elsewhere only that it is one for glibc 2 is checked.
_FLAGS = {"x86_64": 0x0303, "aarch64": 0x0A03}
_ELF = b"\x7fELF"


def adapt(ctypes_util: Any) -> None:
    """Replace the function in ``ctypes.util``."""
    ctypes_util.find_library = find_library


def find_library(name: str) -> str | None:
    """Return the file name of a library such as ``m``, to be loaded by; None if there is none."""
    prefix = f"lib{name}."
    try:
        cached = _in_cache(CACHE)
    except (OSError, ValueError, error):  # there is none, or it is damaged
        cached = []
    for found in cached:
        if found.startswith(prefix):
            return found
    return _in_folders(f"{prefix}so")


def _in_cache(path: str) -> list[str]:
    """Return the names of libraries for this machine in the linker's cache, newest first."""
    with open(path, "rb") as file:
        data = file.read()
    start = data.find(_MAGIC)  # older versions of ldconfig write an older table before it
    if start < 0:
        return []
    data = data[start:]
    wanted = _FLAGS.get(os.uname().machine)
    names = []
    _, count, _ = _HEADER.unpack_from(data)
    for number in range(count):
        flags, key, _, _, _ = _ENTRY.unpack_from(data, _HEADER.size + number * _ENTRY.size)
        if flags == wanted if wanted is not None else flags & 0xFF == 3:
            names.append(os.fsdecode(data[key : data.index(b"\0", key)]))
    return names


def _in_folders(name: str) -> str | None:
    """Look for a file where the linker looks beside its cache; prefers ``libx.so.1`` to ``.so``."""
    multiarch = getattr(sys.implementation, "_multiarch", "")
    given = os.environ.get("LD_LIBRARY_PATH", "").replace(";", ":").split(":")
    system = [f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/lib64", "/usr/lib64", "/lib"]
    for folder in (*given, *system, "/usr/lib", "/usr/local/lib"):
        try:
            names = os.listdir(folder) if folder else []
        except OSError:
            continue
        fitting = [other for other in names if other == name or other.startswith(f"{name}.")]
        for found in sorted(fitting, key=lambda other: (other == name, len(other), other)):
            if _is_library(f"{folder}/{found}"):
                return found
    return None


def _is_library(path: str) -> bool:
    """Whether a file is no linker script (as ``libc.so`` is)."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False
