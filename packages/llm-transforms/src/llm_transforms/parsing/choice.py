"""Choosing a code format by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from llm_transforms.errors import UnknownNameError
from llm_transforms.parsing.blocks import CodeFormat
from llm_transforms.parsing.markdown import MarkdownFences

CODE_FORMATS: Mapping[str, Callable[[], CodeFormat]] = MappingProxyType(
    {"markdown": MarkdownFences}
)
"""The formats that can be chosen by name, and what makes them."""


def code_format(choice: str | CodeFormat) -> CodeFormat:
    """Return the format of that name; a format is returned as it is.

    Raises:
        UnknownNameError: There is none of that name, or `choice` is no format.

    Example:
        >>> code_format("markdown").blocks({"role": "assistant", "content": "no code"})
        []
    """
    if isinstance(choice, str) and choice in CODE_FORMATS:
        return CODE_FORMATS[choice]()
    if isinstance(choice, str) or not isinstance(choice, CodeFormat):
        raise UnknownNameError("code format", choice, CODE_FORMATS)
    return choice
