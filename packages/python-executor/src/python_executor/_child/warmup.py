"""Making the root warm: what is done here once, no child of it has to do again."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING

from . import adaptations, fonts
from .exercises import exercise
from .hugepages import gather
from .rehearsal import rehearse

if TYPE_CHECKING:
    from collections.abc import Iterable

# What ordinary programs import: some 15 ms once in the root, instead of in every program.
WARM_MODULES = (
    *("bisect", "collections", "copy", "dataclasses", "datetime", "functools", "heapq"),
    *("itertools", "json", "math", "operator", "random", "re", "string", "typing"),
)


def warm_up(
    preload: Iterable[str], *, directory: str, font_lists: str, processes: bool = True
) -> None:
    """Import what programs need, run some, and lay all of it out for being forked.

    Args:
        preload: names of modules. Whatever an import raises comes through.
        directory: for files that are wanted meanwhile.
        font_lists: the user's folder of matplotlib's font lists.
        processes: whether programs may start processes.
    """
    adaptations.install(processes=processes)
    fonts.read(font_lists)
    # Neither the user's settings nor changes to them: programs have the same without preload.
    os.environ["MPLCONFIGDIR"] = f"{directory}/matplotlib"
    try:
        for name in (*WARM_MODULES, *preload):
            importlib.import_module(name)
        if "matplotlib" in sys.modules:
            importlib.import_module("matplotlib.font_manager")
        exercise()
    finally:
        os.environ.pop("MPLCONFIGDIR", None)
    rehearse(directory)
    # A fork of a process with threads warns since 3.12; the user's preload is the user's choice.
    warnings.filterwarnings("ignore", "This process.*multi-threaded", DeprecationWarning)
    gc.collect()
    gc.disable()
    gc.freeze()
    gather()
