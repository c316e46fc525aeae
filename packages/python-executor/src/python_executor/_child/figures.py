"""Figures of matplotlib as displays: when they are shown, and at the end those left open.

There is no backend of ours: programs name their own, ``Agg`` mostly, and processes that they start
could not import it. What all backends without windows share is a method that does nothing.
"""

from __future__ import annotations

import binascii
import builtins
import io
import sys
from typing import Any

from . import failures
from .displays import outlet

# A program may patch ``builtins``.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]
_to_base64 = binascii.b2a_base64


def adapt(backend_bases: Any) -> None:
    """Let ``show`` of figures without a window send them, in ``matplotlib.backend_bases``."""
    manager = getattr(backend_bases, "FigureManagerBase", None)
    if manager is not None:
        manager.show = _show


def _show(manager: Any) -> None:
    """Send the figure as PNG and close it, so that it is shown once."""
    try:
        _send(manager.canvas.figure)
    finally:
        sys.modules["matplotlib._pylab_helpers"].Gcf.destroy(manager)


def show_left_open() -> None:
    """Send the figures that are open, and close them; complain of those that can't be drawn."""
    pyplot_helpers: Any = sys.modules.get("matplotlib._pylab_helpers")
    if pyplot_helpers is None or not outlet.is_open():
        return
    for manager in pyplot_helpers.Gcf.get_all_fig_managers():
        try:
            _show(manager)
        except BaseException:  # noqa: BLE001  (the others are shown all the same)
            failures.complain()


def _send(figure: Any) -> None:
    if len(figure.get_children()) <= 1:
        return  # nothing but its background
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")
    image = _to_base64(file.getbuffer(), newline=False).decode()
    outlet.show({"image/png": image, "text/plain": repr(figure)})
