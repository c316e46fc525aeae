"""Packages that only some modules need, and what is said where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from llm_transforms.errors import MissingExtraError


def require(package: str, extra: str) -> None:
    """Make sure that a package is installed before a module that needs it goes on.

    Args:
        package: The name it is imported by.
        extra: The extra of this distribution that brings it.

    Raises:
        MissingExtraError: It isn't installed (an `ImportError`, which says what to install).

    Example:
        >>> require("json", "nothing")
    """
    if find_spec(package) is None:
        raise MissingExtraError(package, extra)
