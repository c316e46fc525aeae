"""Choosing code formats by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

from llm_transforms.errors import UnknownNameError
from llm_transforms.parsing.any_of import AnyOf
from llm_transforms.parsing.blocks import CodeFormat
from llm_transforms.parsing.deepseek import DeepSeekToolCalls
from llm_transforms.parsing.harmony import HarmonyToolCalls
from llm_transforms.parsing.json_tags import HermesToolCalls
from llm_transforms.parsing.llama import Llama3PythonTag
from llm_transforms.parsing.markdown import MarkdownFences
from llm_transforms.parsing.markers import KimiToolCalls
from llm_transforms.parsing.openai import OpenAIToolCalls
from llm_transforms.parsing.tags import TaggedCode
from llm_transforms.parsing.xml_calls import (
    GLMToolCalls,
    MiniMaxToolCalls,
    Qwen3CoderToolCalls,
    SeedToolCalls,
)

FormatChoice: TypeAlias = str | CodeFormat | Sequence[str | CodeFormat]


def python_tags() -> TaggedCode:
    """Make the format of programs between `<python>` and `</python>`."""
    return TaggedCode("python")


def code_tags() -> TaggedCode:
    """Make the format of programs between `<code>` and `</code>`."""
    return TaggedCode("code")


def auto() -> AnyOf:
    """Make all formats at once.

    Formats with one delimiter (`<tool_call>`) are told apart by what stands behind it. HTML's
    `<code>` within a line is no program.

    What can't be told: whether a fence or a tag at the start of a line is an example that nobody
    should run, in which of two formats a call is meant that is malformed in both (it is answered as
    Hermes's), and whether a call in what a model thinks aloud (`<think>`) is meant at all: it runs
    if it is well-formed.
    """
    formats = {name: make() for name, make in _FORMATS.items()}
    formats["code_tags"] = TaggedCode("code", prose=True)
    return AnyOf(list(formats.values()), name="auto")


_FORMATS: Mapping[str, Callable[[], CodeFormat]] = {
    "markdown": MarkdownFences,
    "python_tags": python_tags,
    "code_tags": code_tags,
    "hermes": HermesToolCalls,
    "qwen3_coder": Qwen3CoderToolCalls,
    "seed": SeedToolCalls,
    "glm": GLMToolCalls,
    "minimax": MiniMaxToolCalls,
    "kimi": KimiToolCalls,
    "deepseek": DeepSeekToolCalls,
    "llama3": Llama3PythonTag,
    "harmony": HarmonyToolCalls,
    "openai": OpenAIToolCalls,
}

CODE_FORMATS: Mapping[str, Callable[[], CodeFormat]] = MappingProxyType({**_FORMATS, "auto": auto})
"""The formats that can be chosen by name, and what makes them."""


def code_format(choice: FormatChoice) -> CodeFormat:
    """Return the format of that name; several as one; a format is returned as it is.

    Args:
        choice: A name of `CODE_FORMATS`, a format, or a sequence of them.

    Raises:
        UnknownNameError: There is none of that name, or `choice` is no format.
        InvalidArgumentError: The sequence is empty.

    Example:
        >>> code_format("markdown").blocks({"role": "assistant", "content": "no code"})
        []
        >>> code_format(["markdown", "hermes"]).name
        'markdown+hermes'
    """
    if isinstance(choice, str):
        if choice not in CODE_FORMATS:
            raise UnknownNameError("code format", choice, CODE_FORMATS)
        return CODE_FORMATS[choice]()
    if isinstance(choice, CodeFormat) and not isinstance(choice, type):  # a class looks like one
        return choice
    if isinstance(choice, list | tuple):
        return AnyOf([code_format(each) for each in choice])
    raise UnknownNameError("code format", choice, CODE_FORMATS)
