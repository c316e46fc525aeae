"""What all have in common that are made of settings, or closed at the end of a `with`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import signature
from types import TracebackType
from typing import Any, Self


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
        defaults = signature(type(self)).parameters
        arguments = ", ".join(
            f"{name}={value!r}"
            for name, value in self._settings.items()
            if value != defaults[name].default
        )
        return f"{type(self).__name__}({arguments})"


def _remake(cls: type[Configured], settings: dict[str, Any]) -> Configured:
    return cls(**settings)
