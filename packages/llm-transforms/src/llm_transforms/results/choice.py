"""Choosing a result formatter by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from llm_transforms.errors import UnknownNameError
from llm_transforms.results.code_blocks import CodeBlockResults
from llm_transforms.results.enclosed import OutputFence, TaggedResults
from llm_transforms.results.openai import OpenAIResults
from llm_transforms.results.outcomes import ResultFormatter

RESULT_FORMATTERS: Mapping[str, Callable[[], ResultFormatter]] = MappingProxyType(
    {
        "code_blocks": CodeBlockResults,
        "output_fence": OutputFence,
        **{tag: partial(TaggedResults, tag) for tag in ("interpreter", "tool_response", "output")},
        "openai": OpenAIResults,
    }
)
"""The formatters that can be chosen by name, and what makes them."""


def result_formatter(choice: str | ResultFormatter) -> ResultFormatter:
    """Return the formatter of that name; a formatter is returned as it is.

    Raises:
        UnknownNameError: There is none of that name, or `choice` is no formatter.

    Example:
        >>> result_formatter("code_blocks")
        CodeBlockResults()
    """
    if isinstance(choice, str) and choice in RESULT_FORMATTERS:
        return RESULT_FORMATTERS[choice]()
    is_class = isinstance(choice, type)  # it looks like a formatter
    if isinstance(choice, str) or is_class or not isinstance(choice, ResultFormatter):
        raise UnknownNameError("result formatter", choice, RESULT_FORMATTERS)
    return choice
