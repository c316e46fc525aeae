"""Classes that Ray can't take as they are.

Ray sees the functions of a class and nothing else, and replaces a constructor that is written in C
by one without arguments: `ray.remote(list)` makes an actor with no methods. What it doesn't see is
handed on by a subclass that is made on the fly; every other class stays as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from services_core import public_methods


def for_ray(cls: type) -> type:
    """The class itself, or a subclass of the same name that Ray understands.

    Args:
        cls: Class of a service.
    """
    hidden = [name for name in public_methods(cls) if not _is_seen(getattr(cls, name))]
    if cls.__init__ is not object.__init__ and not _is_seen(cls.__init__):  # type: ignore[misc]
        hidden.append("__init__")
    if not hidden:
        return cls
    members = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    adapted: type = type(cls)(cls.__name__, (cls,), members)
    for name in hidden:
        setattr(adapted, name, _handing_on(adapted, name))
    return adapted


def _is_seen(attribute: object) -> bool:
    return inspect.isfunction(attribute) or inspect.ismethod(attribute)


def _handing_on(adapted: type, name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(super(adapted, self), name)(*args, **kwargs)

    method.__name__ = name
    return method
