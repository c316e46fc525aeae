"""Our chats: an environment and its interpreter, over the backends."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from _chat_env.replies import Reply
from llm_transforms import ChatEnv, Message, PythonInterpreter
from python_executor import PythonExecutorService
from services_core import ServiceBase, get_services

POOL_SIZE = 32
# A loaded machine must not make a program fail.
TIMEOUT = 60.0

STATELESS, SESSIONS, NAMESPACE_MODE = "stateless", "sessions", "namespace"
MODES = (STATELESS, SESSIONS, NAMESPACE_MODE)

# By `isolation`; stateless programs and sessions share the service of pristine processes.
_SERVICES = {STATELESS: "process", SESSIONS: "process", NAMESPACE_MODE: "namespace"}
# Two runs at the same time must not meet.
NAMESPACE = f"benchmark-{os.getpid()}"
# A program that prints nothing, for sessions to be open.
_OPENER = "```python\npass\n```"


@contextmanager
def services_on(backend: str, sessions: int, preload: Sequence[str]) -> Iterator[ServiceBase]:
    """Our executors on a backend, one for each isolation, and their end.

    Args:
        backend: Its name.
        sessions: How many there may be.
        preload: Modules that are imported once, for all programs.
    """
    with get_services(backend, NAMESPACE) as services:
        for isolation in dict.fromkeys(_SERVICES.values()):
            services.register_with_options(
                isolation,
                PythonExecutorService,
                actor_options={"num_cpus": 0, "max_concurrency": 8},
                pool_size=POOL_SIZE,
                timeout=TIMEOUT,
                preload=list(preload),
                isolation=isolation,
                max_sessions=max(POOL_SIZE, sessions),
            )
        yield services


def options_of(services: ServiceBase, mode: str) -> dict[str, Any]:
    """What a transform is told to use a service of `services_on`."""
    return {
        "services": services,
        "service_name": _SERVICES[mode],
        "persistent": mode == SESSIONS,
        "timeout": TIMEOUT,
    }


def interpreter(services: ServiceBase, mode: str) -> PythonInterpreter:
    """The transform of a mode."""
    return PythonInterpreter(**options_of(services, mode))


@dataclass
class OurChats:
    """Our environment. Sessions are opened by a turn before the one that is timed.

    Attributes:
        transform: What answers.
        replies: One for each environment.
        open_sessions: Whether that turn is played.
    """

    transform: PythonInterpreter
    replies: Sequence[Reply]
    open_sessions: bool = False
    env: ChatEnv = field(init=False)

    def __post_init__(self) -> None:
        self.env = ChatEnv(len(self.replies)).append_transform(self.transform)
        self._prompts = [each.question for each in self.replies]
        self._texts = [each.text for each in self.replies]
        self._chats: list[list[Message]] = []

    def begin(self) -> None:
        """Begin chats anew."""
        self.env.reset(self._prompts)
        if self.open_sessions:
            self.env.step([_OPENER] * len(self.replies))

    def step(self) -> None:
        """Play the replies; this is timed."""
        self._chats = self.env.step(self._texts)

    def answers(self) -> list[str]:
        """What the last step answered."""
        return [_told(chat[-1]) for chat in self._chats]

    def end(self) -> None:
        """Close the sessions: parked ones hold memory while others are timed."""
        if self.open_sessions:
            self.env.reset(self._prompts)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


class OurTransform:
    """Our interpreter alone, asked for answers, without an environment's chats."""

    def __init__(self, transform: PythonInterpreter, replies: Sequence[Reply]) -> None:
        self._transform = transform
        self._messages = [{"role": "assistant", "content": each.text} for each in replies]
        self._chats = [[message] for message in self._messages]
        self._answers: list[list[Message]] = []

    def begin(self) -> None:
        """Nothing is kept from step to step."""

    def step(self) -> None:
        """Answer the replies; this is timed."""
        self._answers = self._transform.step(self._chats, self._messages)

    def answers(self) -> list[str]:
        """What the last step answered."""
        return [_told(each[-1]) if each else "" for each in self._answers]

    def end(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Close the interpreter."""
        self._transform.close()


def _told(message: Message) -> str:
    content: str = message["content"]
    return content if message["role"] == "tool" else ""
