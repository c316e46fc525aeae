"""Giving every interpreter random numbers of its own.

CPython reseeds ``random`` in a forked child. Of the global generators of numpy and torch it can't
know.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import linux

# Words of the state of the Mersenne Twister MT19937.
_WORDS = 624


def renewal() -> list[linux.Call]:
    """Prepare to seed the generators of the modules that are imported."""
    calls: list[linux.Call] = []
    numpy = sys.modules.get("numpy")
    if numpy is not None and (random := sys.modules.get("numpy.random")) is not None:
        if random.get_state(legacy=False)["bit_generator"] == "MT19937":
            calls.append((_renew_twister, (random.set_state, numpy.frombuffer, numpy.uint32)))
        else:  # a preloaded module has chosen another one
            calls.append((random.seed, ()))
    if (torch := sys.modules.get("torch")) is not None:
        calls.append((torch.default_generator.seed, ()))  # torch.seed() looks for GPUs
    return calls


def _renew_twister(set_state: Any, frombuffer: Any, kind: Any) -> None:
    """Fill the state with random bits: ``seed()`` spreads fewer over it, in twice the time."""
    set_state(("MT19937", frombuffer(os.urandom(4 * _WORDS), kind), _WORDS))
