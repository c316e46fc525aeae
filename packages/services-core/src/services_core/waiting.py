"""Looking again and again, for what no event tells."""

from __future__ import annotations

import time
from collections.abc import Iterator

# The second look comes after 2 ms, for what is nearly there; later ones 50 ms apart at most.
_FIRST_PAUSE = 0.002
_LAST_PAUSE = 0.05


def looks(timeout: float) -> Iterator[None]:
    """Yield at once, and then at growing intervals until the timeout is over.

    Args:
        timeout: Seconds. If it is not positive, there is the first look alone.
    """
    give_up = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    yield
    while (left := give_up - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LAST_PAUSE)
        yield
