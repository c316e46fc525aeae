"""What interpreters have imported before the first program."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple


class Preload(NamedTuple):
    """Modules to have imported.

    Attributes:
        title: As tables name it.
        modules: By their import names.
    """

    title: str
    modules: tuple[str, ...]

    @property
    def imports(self) -> str:
        """What a program that uses them begins with, preloaded or not."""
        return "".join(f"import {name}\n" for name in self.modules)

    @property
    def missing(self) -> list[str]:
        """Those that aren't installed."""
        return [name for name in self.modules if importlib.util.find_spec(name) is None]


PRELOADS = {
    "nothing": Preload("nothing preloaded", ()),
    "numpy": Preload("numpy preloaded", ("numpy",)),
    "science": Preload("numpy, sympy and pandas preloaded", ("numpy", "sympy", "pandas")),
}
