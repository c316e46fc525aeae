"""What this package raises. A program that fails is a message to the model, not an exception."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# The longest excerpt of a bad value in a message (characters).
_EXCERPT = 120


class TransformError(Exception):
    """Base of all errors of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls __init__ with the message alone; these build their message from facts.
        return _restore, (type(self), self.args, self.__dict__.copy())


class InvalidMessageError(TransformError, TypeError):
    """Something that should be text or a chat message is neither.

    Attributes:
        where: What it was given as ("replies[3]").
        value: What was given.
        expected: What is taken there.
    """

    def __init__(self, where: str, value: object, expected: str) -> None:
        self.where = where
        self.value = value
        self.expected = expected
        super().__init__(f"{where} must be {expected}, not {_excerpt(value)}")


class BatchSizeError(TransformError, ValueError):
    """A number of prompts or replies that is not the number of environments.

    Attributes:
        what: What was counted ("replies").
        given: How many there were.
        expected: How many environments there are.
    """

    def __init__(self, what: str, given: int, expected: int) -> None:
        self.what = what
        self.given = given
        self.expected = expected
        super().__init__(
            f"{given} {what} for {expected} environments: give one for each, in their order "
            "(None in place of a reply lets that environment sit out)"
        )


class InvalidArgumentError(TransformError, ValueError):
    """An argument has a value that can't be used.

    Attributes:
        parameter: Name of the parameter.
        value: What was given.
        expected: What it takes.
    """

    def __init__(self, parameter: str, value: object, expected: str) -> None:
        self.parameter = parameter
        self.value = value
        self.expected = expected
        super().__init__(f"{parameter} must be {expected}, not {_excerpt(value)}")


class UnknownNameError(TransformError, ValueError):
    """A code format or result formatter was asked for by a name that there isn't.

    Attributes:
        what: What was asked for ("code format").
        name: The name.
        available: The names that there are.
    """

    def __init__(self, what: str, name: object, available: Iterable[str]) -> None:
        self.what = what
        self.name = name
        self.available = sorted(available)
        super().__init__(
            f"unknown {what} {name!r}; there: {', '.join(self.available)}. An object of one's own "
            "(no class) is taken as well"
        )


class NotAnExecutorError(TransformError, TypeError):
    """The service that was found under the name can't do what is needed of an executor.

    Attributes:
        service_name: Its name.
        namespace: Its namespace.
        method: The method that it lacks: `execute_batch`, or `close_session` where names are to
            last, because a service without it has no sessions.
    """

    def __init__(self, service_name: str, namespace: str, method: str = "execute_batch") -> None:
        self.service_name = service_name
        self.namespace = namespace
        self.method = method
        sessions = method == "close_session"
        why = ", so it has no sessions, which persistent=True needs" if sessions else ""
        instead = ", or take persistent=False" if sessions else ""
        super().__init__(
            f"service {service_name!r} in namespace {namespace!r} has no method {method}{why}: "
            "register python_executor.PythonExecutorService, or a class with that method" + instead
        )


class HistoryNeededError(TransformError, RuntimeError):
    """A TorchRL environment was stepped whose replies are no messages.

    Attributes:
        input_mode: The environment's mode; None if it has none.
    """

    def __init__(self, input_mode: str | None) -> None:
        self.input_mode = input_mode
        found = "has no such history" if input_mode is None else f"has input_mode={input_mode!r}"
        super().__init__(
            "programs are read from the replies in ('history', 'full') and answered in ('next', "
            f"'history', 'prompt'), but the environment {found}: make it "
            "ChatEnv(input_mode='history'), and have the policy write its history there"
        )


class MissingExtraError(TransformError, ImportError):
    """A module was imported whose package isn't installed.

    Attributes:
        package: The name that the package is imported by.
        extra: The extra of this distribution that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f'{package!r} is not installed: python -m pip install "llm-transforms[{extra}]"'
        )


class TransformInUseError(TransformError, RuntimeError):
    """A transform was appended that already belongs to an environment.

    Attributes:
        transform: The transform.
    """

    def __init__(self, transform: object) -> None:
        self.transform = transform
        super().__init__(
            f"{transform!r} already belongs to an environment, whose state it holds: append its "
            "clone()"
        )


class NotResetError(TransformError, RuntimeError):
    """An environment was stepped or read before it had a chat.

    Attributes:
        environments: Numbers of the environments without one.
    """

    def __init__(self, environments: Iterable[int]) -> None:
        self.environments = list(environments)
        super().__init__(
            f"{len(self.environments)} environments have no chat yet (the first: "
            f"{self.environments[0]}): call reset(prompts) before step(replies)"
        )


class ClosedError(TransformError, RuntimeError):
    """An environment, a transform or a tool was used after its close().

    Attributes:
        what: What was used.
    """

    def __init__(self, what: object) -> None:
        self.what = what
        super().__init__(f"{what!r} is closed: make a new one")


def check_count(parameter: str, value: Any, *, least: int = 1) -> int:
    """Return a count that was given.

    Raises:
        InvalidArgumentError: It is no integer, or less than `least`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidArgumentError(parameter, value, f"an integer of at least {least}")
    return value


def _restore(
    cls: type[TransformError], args: tuple[Any, ...], state: dict[str, Any]
) -> TransformError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _excerpt(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
