"""Classes that Ray can't take as they are.

Ray sees the functions of a class and nothing else, and replaces a constructor that is written in C
by one without arguments: `ray.remote(list)` makes an actor with no methods. It also sends values
into generators, which `yield from range(3)` can't take. For these a subclass is made on the fly;
every other class stays as it is.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from services_core import public_methods


def for_ray(cls: type) -> type:
    """The class itself, or a subclass of the same name that Ray understands.

    Args:
        cls: Class of a service.
    """
    names = list(public_methods(cls))
    if cls.__init__ is not object.__init__:  # type: ignore[misc]
        names.append("__init__")
    hidden = [name for name in names if not _is_seen(getattr(cls, name))]
    generators = [name for name in names if inspect.isgeneratorfunction(getattr(cls, name))]
    if not hidden and not generators:
        return cls
    members = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    adapted: type = type(cls)(cls.__name__, (cls,), members)
    for name in hidden:
        setattr(adapted, name, _handing_on(adapted, name))
    for name in generators:
        method: Any = _yielding(getattr(cls, name))
        if isinstance(inspect.getattr_static(cls, name), staticmethod | classmethod):
            method = staticmethod(method)
        setattr(adapted, name, method)
    return adapted


def _is_seen(attribute: object) -> bool:
    return inspect.isfunction(attribute) or inspect.ismethod(attribute)


def _handing_on(adapted: type, name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(super(adapted, self), name)(*args, **kwargs)

    method.__name__ = name
    return method


def _yielding(generator: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    @functools.wraps(generator)
    def method(*args: Any, **kwargs: Any) -> Iterator[Any]:
        # Not `yield from`, which would hand on what is sent.
        for item in generator(*args, **kwargs):  # noqa: UP028
            yield item

    return method
