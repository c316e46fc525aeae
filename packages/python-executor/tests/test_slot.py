"""What a slot opens, when KeyboardInterrupt comes at any moment."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from types import FrameType

import pytest

from python_executor._slot import _open_ends


class Interruption(BaseException):
    """In the place of KeyboardInterrupt, which would end the tests."""


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Interruption


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("merge", [False, True])
def test_an_interrupt_leaves_no_descriptor_open(merge: bool) -> None:
    chance = random.Random(7)
    before = descriptors()
    opened = 0
    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(2000):
            ends = None
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(2e-6, 1e-4))
                ends = _open_ends(merge=merge)
                time.sleep(1e-3)  # it comes now
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interruption:
                pass
            if ends is not None:
                opened += 1
                for each in ends:
                    each.close()
    finally:
        signal.signal(signal.SIGALRM, former)
    assert 20 < opened < 1980
    assert descriptors() == before
