"""What all have in common that are made of settings, or closed at the end of a `with`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import signature
from reprlib import Repr
from types import TracebackType
from typing import Any, Self

# A tokenizer shows all of its vocabulary, which is no reading in an error.
_SHORT = Repr()
_SHORT.maxother = _SHORT.maxstring = 120  # characters


class Closing(ABC):
    """Is closed at the end of a `with`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held. May be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Configured:
    """Is cloned, pickled and shown by what its constructor was given.

    Processes, sessions and connections stay where they are: a clone, and what is unpickled, opens
    its own. The constructor sets `_settings`.
    """

    _settings: Mapping[str, Any]

    def clone(self) -> Self:
        """Return one with the same settings, which shares no state with this one."""
        return type(self)(**self._settings)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (type(self), dict(self._settings))

    def __repr__(self) -> str:
        return shown_as_call(type(self), self._settings)


def shown_as_call(cls: type, settings: Mapping[str, Any], parameters_of: type | None = None) -> str:
    """Return the call that makes an object, without what is the default, long values shortened.

    Args:
        cls: Its class.
        settings: The arguments by their names.
        parameters_of: The class whose constructor has the defaults, if that is another.
    """
    parameters = signature(cls if parameters_of is None else parameters_of).parameters
    arguments = ", ".join(
        f"{name}={_SHORT.repr(value)}"
        for name, value in settings.items()
        if value != parameters[name].default
    )
    return f"{cls.__name__}({arguments})"


def _remake(cls: type[Configured], settings: dict[str, Any]) -> Configured:
    return cls(**settings)
