"""Opening tags that are spoken of, and open nothing."""

from __future__ import annotations

# White space before a tag, up to this many characters, is looked through. More is no prose.
_LOOK_BACK = 200
_NOTHING = frozenset(["", ".", "..", "...", "\u2026", "and", "or"])
_BEHIND = frozenset(" \t,.;:!?)")


def in_quotes(text: str, start: int, end: int) -> bool:
    """Whether a tag stands alone between backticks or quotes: the name of a tag, not a tag."""
    before = text[start - 1 : start]
    return before in ("`", '"', "'") and before == text[end : end + 1]


def in_prose(text: str, start: int) -> bool:
    """Whether there are words before a tag on its line; other tags are none.

    Example:
        >>> in_prose("Then I write <tool_call>", 13)
        True
    """
    before = text[max(0, start - _LOOK_BACK) : start].rstrip(" \t")
    return bool(before) and before[-1] not in "\r\n>"


def says_nothing(text: str) -> bool:
    """Whether what stands between two tags is nothing, three dots, or what joins two words."""
    return len(text) < _LOOK_BACK and text.strip() in _NOTHING


def before_words(text: str, end: int) -> bool:
    """Whether a tag is a part of a sentence, by what stands behind it."""
    return text[end : end + 1] in _BEHIND
