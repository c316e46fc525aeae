"""`ChatEnv`: a batch of chats with a model, and the transforms that answer its replies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, SupportsIndex, TypeGuard

from llm_transforms.errors import (
    BatchSizeError,
    ClosedError,
    InvalidArgumentError,
    InvalidMessageError,
    NotResetError,
)
from llm_transforms.lifetime import Closing
from llm_transforms.messages import Message, as_message, check_message
from llm_transforms.transform import Transform

Reply = str | Mapping[str, Any] | None
Prompt = str | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Turn:
    """The replies of one step, and what the transforms that came so far answered to them."""

    replies: list[Message | None]
    answers: list[Sequence[Sequence[Message]]] = field(default_factory=list)


class ChatEnv(Closing):
    r"""A batch of environments, each a chat of OpenAI-style messages. Needs no torch.

    Args:
        batch_size: Number of environments, or its factors: (4, 32) are 128, which prompts, replies
            and chats list row by row.
        system_prompt: What each chat begins with; None for no system message.

    Raises:
        InvalidArgumentError: `batch_size` is no positive integer and no tuple of them, or
            `system_prompt` is neither text nor None.

    Example:
        >>> from llm_transforms import PythonInterpreter
        >>> env = ChatEnv(batch_size=(2,)).append_transform(PythonInterpreter())
        >>> chats = env.reset(["What is 6 * 7?", "Say hello."])
        >>> chats = env.step(["```python\nprint(6 * 7)\n```", "Hello!"])
        >>> chats[0][-1]
        {'role': 'tool', 'content': 'Code block 1 executed successfully:\n42\n'}
        >>> len(chats[1])
        2
        >>> env.close()
    """

    def __init__(
        self, batch_size: int | Sequence[int] = (1,), *, system_prompt: str | None = None
    ) -> None:
        self.batch_size = _check_batch_size(batch_size)
        if not (system_prompt is None or isinstance(system_prompt, str)):
            raise InvalidArgumentError("system_prompt", system_prompt, "text or None")
        self.system_prompt = system_prompt
        self._transforms: tuple[Transform, ...] = ()
        self._chats: list[list[Message] | None] = [None] * len(self)
        self._unfinished: _Turn | None = None  # a step that raised
        self._closed = False

    def __len__(self) -> int:
        return math.prod(self.batch_size)

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """The transforms, in the order in which they answer."""
        return self._transforms

    @property
    def chats(self) -> list[list[Message]]:
        """The chats as they are now, as copies.

        Raises:
            NotResetError: An environment has none yet.
        """
        return [[message.copy() for message in chat] for chat in self._begun()]

    def append_transform(self, transform: Transform) -> ChatEnv:
        """Return a new environment whose replies `transform` answers too, after the others.

        This environment stays as it was: the new one has clones of its transforms, and no chats.

        Args:
            transform: It belongs to the new environment from now on, which closes it.

        Raises:
            TransformInUseError: It belongs to an environment already.
            InvalidArgumentError: It is no transform.
            ClosedError: This environment is closed.
        """
        self._check_open()
        if not isinstance(transform, Transform):
            raise InvalidArgumentError("transform", transform, "a Transform")
        env = ChatEnv(self.batch_size, system_prompt=self.system_prompt)
        with ExitStack() as undo:
            for each in self._transforms:
                clone = each.clone()
                undo.callback(clone.close)
                clone.claim()
                env._transforms += (clone,)
            transform.claim()
            undo.pop_all()
        env._transforms += (transform,)
        return env

    def reset(
        self, prompts: Sequence[Prompt], *, environments: Iterable[SupportsIndex] | None = None
    ) -> list[list[Message]]:
        """Begin new chats.

        Args:
            prompts: For each environment the user's text, or the messages of a chat that has
                begun (the system prompt is put before them unless they begin with one).
            environments: Numbers of the environments to begin anew (a list, or an array of
                integers), one for each prompt; None for all. The others keep their chats.

        Returns:
            All chats, as copies.

        Raises:
            BatchSizeError: There are more or fewer prompts than environments.
            InvalidMessageError: A prompt is neither text nor a list of messages.
            InvalidArgumentError: `environments` has a number twice, or one that there isn't.
            NotResetError: An environment that isn't reset has no chat yet.
            ClosedError: This environment is closed.
        """
        self._check_open()
        numbers = self._numbers(environments)
        prompts = _check_sequence("prompts", prompts, len(numbers))
        chats = [self._begin(prompt, f"prompts[{i}]") for i, prompt in enumerate(prompts)]
        self._unfinished = None
        for transform in self._transforms:
            transform.reset(numbers)
        for number, chat in zip(numbers, chats, strict=True):
            self._chats[number] = chat
        return self.chats

    def step(self, replies: Sequence[Reply]) -> list[list[Message]]:
        """Append the model's replies, and what the transforms answer to them.

        Args:
            replies: For each environment text, an assistant message, or None to sit out.

        Returns:
            All chats, as copies.

        Raises:
            BatchSizeError: There are more or fewer replies than environments.
            InvalidMessageError: A reply is neither text nor an assistant message nor None.
            NotResetError: An environment has no chat yet.
            ClosedError: This environment is closed.

        If a transform raises, the chats are as they were before, and the same step can be tried
        again: transforms that had answered it are not asked once more, so that none of their
        programs runs twice.
        """
        self._check_open()
        # Transforms change no messages, so that only what is returned has to be copies of them.
        chats = [chat.copy() for chat in self._begun()]
        replies = _check_sequence("replies", replies, len(self))
        messages = [
            None if reply is None else as_message(reply, "assistant", f"replies[{number}]")
            for number, reply in enumerate(replies)
        ]
        for chat, message in zip(chats, messages, strict=True):
            if message is not None:
                chat.append(message)
        turn = self._unfinished
        if turn is None or turn.replies != messages:
            turn = _Turn(messages)
        self._unfinished = turn
        for answers in turn.answers:
            _extend(chats, answers)
        for transform in self._transforms[len(turn.answers) :]:
            answers = transform.step(chats, messages)
            _extend(chats, answers)
            turn.answers.append(answers)
        self._unfinished = None
        self._chats[:] = chats
        return self.chats

    def close(self) -> None:
        """Close the transforms, all of them also if one raises. May be called again."""
        if not self._closed:
            self._closed = True
            with ExitStack() as stack:
                for transform in reversed(self._transforms):
                    stack.callback(transform.close)

    def __repr__(self) -> str:
        state = "closed, " if self._closed else ""
        return f"<ChatEnv {state}batch_size={self.batch_size}, {list(self._transforms)}>"

    def _begin(self, prompt: object, where: str) -> list[Message]:
        if isinstance(prompt, str):
            messages: list[Message] = [{"role": "user", "content": prompt}]
        elif isinstance(prompt, Sequence) and not isinstance(prompt, bytes) and prompt:
            messages = [check_message(each, f"{where}[{i}]") for i, each in enumerate(prompt)]
        else:
            raise InvalidMessageError(where, prompt, "text or a list of messages")
        if self.system_prompt is not None and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        return messages

    def _begun(self) -> list[list[Message]]:
        """The chats themselves."""
        begun = [chat for chat in self._chats if chat is not None]
        if len(begun) < len(self._chats):
            raise NotResetError([i for i, chat in enumerate(self._chats) if chat is None])
        return begun

    def _numbers(self, environments: object) -> list[int]:
        if environments is None:
            return list(range(len(self)))
        given = list(environments) if isinstance(environments, Iterable) else [None]
        numbers = [int(each) for each in given if _is_int(each) and 0 <= each < len(self)]
        if len(set(numbers)) < len(given):
            raise InvalidArgumentError(
                "environments", environments, f"a list of different numbers below {len(self)}"
            )
        return numbers

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(self)


def _extend(chats: Sequence[list[Message]], answers: Sequence[Sequence[Message]]) -> None:
    for chat, answer in zip(chats, answers, strict=True):
        chat.extend(answer)


def _check_batch_size(batch_size: object) -> tuple[int, ...]:
    sizes = (batch_size,) if _is_int(batch_size) else batch_size
    if isinstance(sizes, Sequence) and not isinstance(sizes, str | bytes):
        sizes = tuple(sizes)
        if sizes and all(_is_int(size) and size > 0 for size in sizes):
            return tuple(map(int, sizes))
    raise InvalidArgumentError("batch_size", batch_size, "a positive integer or a tuple of them")


def _check_sequence(what: str, values: Any, expected: int) -> Sequence[Any]:
    # A text is a sequence too, of characters: certainly a mistake.
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
        raise InvalidMessageError(what, values, f"a list of {expected}")
    if len(values) != expected:
        raise BatchSizeError(what, len(values), expected)
    return values


def _is_int(value: object) -> TypeGuard[int]:  # one of numpy's too, but no mask's
    return isinstance(value, Integral) and not isinstance(value, bool)
