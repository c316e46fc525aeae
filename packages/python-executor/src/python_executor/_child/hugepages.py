"""Gathering the root's memory in huge pages, so that a fork copies one entry for 2 MiB, not 512.

A child that writes into a huge page gets a copy of the 4 KiB that it writes, as ever.
"""

# Plain paths: pathlib would be imported into every program.
# ruff: noqa: PTH123
from __future__ import annotations

import ctypes

_MADV_COLLAPSE = 25
# On other machines than x86-64 perhaps more: then ranges of this size are refused.
_SIZE = 2 * 1024 * 1024

_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)


def gather() -> None:
    """Have the kernel move private memory into huge pages (madvise(2), Linux 6.1), if it can."""
    try:
        with open("/proc/self/maps") as file:
            lines = file.readlines()
    except OSError:
        return  # no /proc: all works without as well
    for line in lines:
        addresses, permissions, _, _, inode, *_ = line.split()
        if permissions != "rw-p" or inode != "0":
            continue
        first, last = (int(address, 16) for address in addresses.split("-"))
        first += -first % _SIZE
        last -= last % _SIZE
        if first < last:
            _madvise(first, last - first, _MADV_COLLAPSE)  # a refusal leaves all as it was
