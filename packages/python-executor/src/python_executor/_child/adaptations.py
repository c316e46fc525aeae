"""Changing a few modules as a program imports them: they would not work here as they are.

Nothing of it is imported before; a program that doesn't use them pays for two looks into
dictionaries.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from . import figures, fonts, libraries, parallel, randomness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def _offer_fonts(_: ModuleType) -> None:
    fonts.offer()


_BEFORE: dict[str, Callable[[ModuleType], None]] = {"matplotlib.font_manager": _offer_fonts}
_AFTER: dict[str, Callable[[ModuleType], None]] = {
    "ctypes.util": libraries.adapt,
    "matplotlib.backend_bases": figures.adapt,
    "numpy.random": randomness.adapt_numpy,
    "threadpoolctl": parallel.adapt_thread_pools,
    "torch": randomness.adapt_torch,
}
_AFTER_WITHOUT_PROCESSES: dict[str, Callable[[ModuleType], None]] = {
    "_multiprocessing": parallel.adapt_semaphores,
    "multiprocessing.heap": parallel.adapt_heap,
}


def install(*, processes: bool) -> None:
    """Let imports go through here from now on.

    Args:
        processes: whether programs may start processes.
    """
    if not processes:
        _AFTER.update(_AFTER_WITHOUT_PROCESSES)
    sys.meta_path.insert(0, _Finder())


class _Finder:
    """A finder of modules that has others find them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _AFTER and name not in _BEFORE:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                loader: Any = _Loader(spec.loader)
                spec.loader = loader
                return spec
        return None


class _Loader:
    """Has a module's own loader load it, adapts it, and leaves no trace."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        name = module.__name__
        if name in _BEFORE:
            _BEFORE[name](module)
        self._loader.exec_module(module)
        if name in _AFTER:
            _AFTER[name](module)
