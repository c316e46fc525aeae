"""TorchRL's histories as messages, and answers as what is put at a history's end.

A `History` is a stack of messages: the environments' dimensions, and time as the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from tensordict import NonTensorData, lazy_stack
from torchrl.data.llm import History

from llm_transforms.messages import Message

# TorchRL's role of what only fills a stack up; its chat templates leave such messages out.
_FILLER = "<none>"


def replies_of(history: History, roles: Collection[str]) -> list[Message | None]:
    """Return the last message of each chat as an assistant's, row by row.

    Args:
        history: The chats, (*batch, time); they may differ in length.
        roles: The roles of the policy.

    Returns:
        None for a chat that ends with another's message: a tool's, or a filler.
    """
    return [
        _reply(each) if each.role in roles else None for each in _each_message(history[..., -1])
    ]


def with_answers(history: History, answers: Sequence[Sequence[Message]]) -> History:
    """Return the chats with answers at their ends, filled up to the most that one of them got.

    Args:
        history: The chats, (*batch, time). Left as they are.
        answers: The messages for each chat, row by row.
    """
    most = max(len(each) for each in answers)
    fillers = [_message({"role": _FILLER, "content": ""})] * most
    rows = [[*map(_message, each), *fillers[len(each) :]] for each in answers]
    if history.device is not None:
        rows = [[message.to(history.device) for message in row] for row in rows]
    if -1 in history.batch_size:  # chats of different lengths have no common time
        return _extended(history, iter(rows))
    columns = [_laid_out(column, history.batch_size[:-1]) for column in zip(*rows, strict=True)]
    # A stack along time, as TorchRL's own transform leaves it.
    return lazy_stack([*history.unbind(-1), *columns], dim=-1)


def _each_message(messages: History) -> Iterator[History]:
    """The messages of a batch, row by row."""
    if not messages.batch_size:
        yield messages
        return
    for each in messages.unbind(0):
        yield from _each_message(each)


def _extended(history: History, rows: Iterator[list[History]]) -> History:
    if len(history.batch_size) == 1:
        return lazy_stack([*history.unbind(0), *next(rows)])
    return lazy_stack([_extended(each, rows) for each in history.unbind(0)])


def _laid_out(messages: Sequence[History], shape: Sequence[int]) -> History:
    """Stack a message of each environment as these are laid out."""
    stacks = list(messages)
    for size in reversed(shape[1:]):
        stacks = [lazy_stack(stacks[i : i + size]) for i in range(0, len(stacks), size)]
    return lazy_stack(stacks)


def _reply(message: History) -> Message:
    """A message of one environment as a dict, in the words of OpenAI's messages."""
    reply: Message = {"role": "assistant", "content": _content(message.content)}
    if message.tool_calls is not None:
        reply["tool_calls"] = list(message.tool_calls)
    return reply


def _content(content: Any) -> Any:  # TorchRL's are text, lists of parts, or a ContentBase
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, list):
        return list(content)
    parts = content.unbind(0) if content.batch_size else [content]
    return [{"type": part.type, "text": part.text} for part in parts]


def _message(message: Message) -> History:
    content = message["content"]
    if not isinstance(content, str):
        # A list would be taken for the contents of as many messages.
        content = NonTensorData(content)
    return History(role=message["role"], content=content)
