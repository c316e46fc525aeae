"""Looks come at once and end with the timeout."""

from __future__ import annotations

import time

import pytest

from services_core.waiting import looks


@pytest.mark.parametrize("timeout", [0.0, -1.0])
def test_there_is_one_look_without_time(timeout: float) -> None:
    assert len(list(looks(timeout))) == 1


def test_the_last_look_is_not_before_the_timeout() -> None:
    start = time.monotonic()
    count = sum(1 for _ in looks(0.05))
    assert time.monotonic() - start >= 0.05
    assert count > 2
