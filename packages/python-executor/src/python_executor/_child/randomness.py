"""Giving every interpreter random numbers of its own, or those of a seed.

CPython reseeds ``random`` in a forked child. Of the global generators of numpy and torch it can't
know.
"""

from __future__ import annotations

import _random
import builtins
import os
import random
import sys
from typing import TYPE_CHECKING, Any

from . import failures

if TYPE_CHECKING:
    from types import ModuleType

    from . import linux

# A program may patch ``builtins`` and ``random``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_generator: Any = random._inst  # noqa: SLF001
_seed_generator: Any = _random.Random.seed
_get_state: Any = _random.Random.getstate
_set_state: Any = _random.Random.setstate
# Words of the state of the Mersenne Twister MT19937.
_WORDS = 624
# What the program was given, or the cell, or one before it.
_seed: int | None = None


def renewal() -> list[linux.Call]:
    """Prepare to seed the generators of the modules that are imported."""
    calls: list[linux.Call] = []
    numpy = sys.modules.get("numpy")
    if numpy is not None and (generators := sys.modules.get("numpy.random")) is not None:
        if generators.get_state(legacy=False)["bit_generator"] == "MT19937":
            calls.append((_renew_twister, (generators.set_state, numpy.frombuffer, numpy.uint32)))
        else:  # a preloaded module has chosen another one
            calls.append((_seed_numpy, (generators,)))
    if (torch := sys.modules.get("torch")) is not None:
        calls.append((torch.default_generator.seed, ()))  # torch.seed() looks for GPUs
    return calls


def _renew_twister(set_state: Any, frombuffer: Any, kind: Any) -> None:
    """Fill the state with random bits: ``seed()`` spreads fewer over it, in twice the time."""
    set_state(("MT19937", frombuffer(os.urandom(4 * _WORDS), kind), _WORDS))


def set_seed(seed: int | None) -> None:
    """Seed the generators of the modules that are imported, and of those that will be.

    Args:
        seed: None takes numbers of the system's.
    """
    global _seed  # noqa: PLW0603
    _seed = seed
    _seed_generator(_generator, seed)
    _generator.gauss_next = None
    for name, seed_module in _MODULES.items():
        try:
            if (module := sys.modules.get(name)) is not None:
                seed_module(module)
        except BaseException:  # noqa: BLE001  (what an earlier cell made of it)
            failures.complain()


def forget_seed() -> None:
    """Draw other numbers from here on if the program before had a seed."""
    if _seed is not None:
        set_seed(None)


def state() -> object:
    """The state of ``random``, which CPython seeds anew in a forked child; the others it leaves."""
    return _generator.gauss_next, _get_state(_generator)


def go_on_from(state: Any) -> None:
    """Have ``random`` draw what it would have drawn then."""
    _generator.gauss_next, inner = state
    _set_state(_generator, inner)


def adapt_numpy(module: ModuleType) -> None:
    """Seed ``numpy.random``, just imported, if the program has a seed."""
    if _seed is not None:
        _seed_numpy(module)


def adapt_torch(module: ModuleType) -> None:
    """Seed ``torch``, just imported, if the program has a seed."""
    if _seed is not None:
        _seed_torch(module)


def _seed_numpy(generators: Any) -> None:
    if not hasattr(generators, "set_state"):
        return  # a module of the program's own
    generators.seed(_seed)
    state = generators.get_state(legacy=False)
    # Before numpy 2.5, a number drawn in advance stays if the bit generator isn't the usual one.
    if state["has_gauss"]:
        generators.set_state({**state, "has_gauss": 0})


def _seed_torch(torch: Any) -> None:
    if not hasattr(torch, "default_generator"):
        return  # a module of the program's own
    generator = torch.default_generator  # torch.manual_seed() looks for GPUs
    if _seed is None:
        generator.seed()
    else:
        generator.manual_seed(_seed)


_MODULES = {"numpy.random": _seed_numpy, "torch": _seed_torch}
