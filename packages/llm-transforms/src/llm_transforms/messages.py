"""Chat messages: OpenAI-style dicts, checked at the door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from llm_transforms.errors import InvalidMessageError

Message: TypeAlias = dict[str, Any]
"""One message of a chat: at least a `role`, and a `content` (text, a list of parts, or None)."""


def text_of(message: Mapping[str, Any]) -> str:
    """Return a message's text; the text parts of a message in parts, each on lines of its own.

    Args:
        message: A message whose content is text, a list of parts, or None.

    Example:
        >>> text_of({"role": "assistant", "content": [{"type": "text", "text": "Hello"}]})
        'Hello'
    """
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))


def as_message(value: object, role: str, where: str) -> Message:
    """Return text as a message of a role; a message of that role as a copy.

    Args:
        value: Text or a message.
        role: Role that a text gets, and that a message must have.
        where: What the value is, for the error ("replies[3]").

    Raises:
        InvalidMessageError: It is neither.
    """
    if isinstance(value, str):
        return {"role": role, "content": value}
    message = check_message(value, where)
    if message["role"] != role:
        raise InvalidMessageError(where, value, f"text or a message whose role is {role!r}")
    return message


def check_message(value: object, where: str) -> Message:
    """Return a copy of a message.

    Raises:
        InvalidMessageError: It is no mapping with a role that is text and a content that is text,
            a list of parts, or None.
    """
    if not isinstance(value, Mapping):
        raise InvalidMessageError(where, value, 'text or a message: {"role": ..., "content": ...}')
    role, content = value.get("role"), value.get("content")
    if not isinstance(role, str) or not role:
        raise InvalidMessageError(where, value, "a message whose role is a non-empty string")
    if not (content is None or isinstance(content, str | list)):
        raise InvalidMessageError(
            where, value, "a message whose content is text, a list of parts, or None"
        )
    return dict(value)
