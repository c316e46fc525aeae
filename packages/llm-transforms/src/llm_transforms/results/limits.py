"""Limits on how much of a program's output the model is told: the middle is left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sized
from copy import deepcopy
from typing import Any

from llm_transforms.errors import InvalidArgumentError, check_count

# No text is measured in one piece that has more characters than this for each token allowed: the
# megabytes that a runaway program prints are not worth encoding to know that they are too many.
_CHARACTERS_PER_TOKEN = 64
# How near to the limit a cut has to come, as encoding again and again costs more than it gains.
_CLOSE_ENOUGH = 0.9
_USUAL_CHARACTERS_PER_TOKEN = 4


def cut_characters(text: str, limit: int, *, between: str = "\n") -> str:
    """Return a text with its middle left out, if it has more characters than `limit`.

    Args:
        text: Any text.
        limit: Characters that stay, half of them from the start and half from the end.
        between: What stands before and after the mark, which counts what was left out.

    Example:
        >>> cut_characters("0123456789", 4, between=" ")
        '01 ... 6 characters left out ... 89'
    """
    if len(text) <= limit:
        return text
    head = (limit + 1) // 2
    return _marked(text, head, len(text) - (limit - head), between)


class OutputLimit(ABC):
    """How much of a text is kept."""

    @abstractmethod
    def cut(self, text: str) -> str:
        """Return the text, or its start and end with a mark that counts what was left out."""


class CharacterLimit(OutputLimit):
    """At most so many characters, the mark aside.

    Args:
        limit: Characters, positive.

    Raises:
        InvalidArgumentError: `limit` is no positive integer.

    Example:
        >>> print(CharacterLimit(8).cut("0123456789abcdef"))
        0123
        ... 8 characters left out ...
        cdef
    """

    def __init__(self, limit: int) -> None:
        self.limit = check_count("max_output_chars", limit)

    def cut(self, text: str) -> str:
        """Return at most `limit` characters of the text, and the mark."""
        return cut_characters(text, self.limit)


class TokenLimit(OutputLimit):
    """At most so many tokens, the mark aside.

    What is kept is the text itself, not a decoding of its tokens. It may be up to a tenth less than
    the limit allows. Time doesn't grow with what is left out.

    Args:
        tokenizer: A tokenizer of `transformers` or `tokenizers`, an encoding of `tiktoken`, or
            anything else whose `encode(text)` returns the tokens.
        limit: Tokens, at least 2.

    Raises:
        InvalidArgumentError: `limit` is no integer of at least 2, or `tokenizer` has no `encode`.

    Example:
        >>> class Words:
        ...     def encode(self, text):
        ...         return text.split()
        >>> print(TokenLimit(Words(), 4).cut("one two three four five six"))
        one two
        ... 12 characters left out ...
        five six
    """

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self.limit = check_count("max_output_tokens", limit, least=2)
        self._count = _counter(tokenizer)

    def cut(self, text: str) -> str:
        """Return at most `limit` tokens of the text, and the mark."""
        if self._fits(text):
            return text
        before = (self.limit + 1) // 2
        head = self._longest(text, before, lambda size: text[:size])
        tail = self._longest(text, self.limit - before, lambda size: text[len(text) - size :])
        # Blanks at the cut would only be counted again.
        return _marked(text, len(text[:head].rstrip(" ")), len(text) - tail, "\n")

    def _fits(self, text: str) -> bool:
        if len(text) > self.limit * _CHARACTERS_PER_TOKEN:
            return False
        # Most tokenizers make no more than a token of a byte: mostly that is all there is to do.
        return len(text.encode(errors="replace")) < self.limit or self._count(text) <= self.limit

    def _longest(self, text: str, tokens: int, part: Callable[[int], str]) -> int:
        """Characters of the longest part that has no more than `tokens`, or nearly so."""
        fits, too_long = 0, min(len(text), tokens * _CHARACTERS_PER_TOKEN) + 1
        size = tokens * _USUAL_CHARACTERS_PER_TOKEN
        while too_long - fits > 1:
            size = min(max(size, fits + 1), too_long - 1)
            count = self._count(part(size))
            if count <= tokens:
                fits = size
                if count >= tokens * _CLOSE_ENOUGH:
                    break
            else:
                too_long = size
            guess = size * tokens // max(count, 1)
            # A guess that the bounds refute says nothing: then halve what is between them.
            size = guess if fits < guess < too_long else (fits + too_long) // 2
        return fits


def _marked(text: str, head: int, tail: int, between: str) -> str:
    mark = f"{between}... {tail - head:,} characters left out ...{between}"
    return text[:head] + mark + text[tail:]


def _counting_all(tokenizer: Any) -> Any:
    """Return a tokenizer of `tokenizers` that neither cuts a text off nor fills it up: a copy."""
    if not (hasattr(tokenizer, "no_truncation") and hasattr(tokenizer, "no_padding")):
        return tokenizer
    if tokenizer.truncation is None and tokenizer.padding is None:
        return tokenizer
    tokenizer = deepcopy(tokenizer)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _counter(tokenizer: Any) -> Callable[[str], int]:
    tokenizer = _counting_all(tokenizer)
    # tiktoken's encode raises where a text holds a special token; this one reads it as text.
    encode = getattr(tokenizer, "encode_ordinary", None) or getattr(tokenizer, "encode", None)
    if encode is None or isinstance(tokenizer, str):
        raise InvalidArgumentError("tokenizer", tokenizer, "an object with encode(text)")
    options: dict[str, Any] = {"add_special_tokens": False}
    try:
        encode("", **options)
    except TypeError:
        options = {}

    def count(text: str) -> int:
        tokens = encode(text, **options)
        ids: Sized = getattr(tokens, "ids", tokens)  # an Encoding of `tokenizers`
        return len(ids)

    return count
