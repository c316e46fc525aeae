"""Llama 3's Python tag."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_transforms.parsing.calls import Call, ToolCallFormat, as_call, told
from llm_transforms.parsing.json_tags import json_object
from llm_transforms.parsing.json_text import JSONReader
from llm_transforms.parsing.mentions import in_quotes

_TAG = "<|python_tag|>"
_END = re.compile(r"<\|(?:eom_id|eot_id|end_of_text|python_tag)\|>")
_SPACE = re.compile(r"\s*+")
# What a reply may begin with, if special tokens are left in it.
_LEAD = re.compile(
    r"(?:\s++|<\|(?:begin_of_text|eom_id|eot_id)\|>"
    r"|<\|start_header_id\|>\s*+assistant\s*+<\|end_header_id\|>)*+"
)
_BETWEEN = re.compile(r"[\s;,]*+")
_NAMED = re.compile(r"""\{\s*+["']name["']\s*+:\s*+["']""")
# Without the tag, broken JSON is a call by its keys, which stand near its start (characters).
_NAME = re.compile(r"""["']name["']\s*+:""")
_ARGUMENTS = re.compile(r"""["'](?:parameters|arguments)["']\s*+:""")
_NEAR = 500
# The other tools that Llama 3.1 was trained with are called by an expression.
_BUILT_IN = re.compile(r"\s*+(brave_search|wolfram_alpha)\.call\(")


class Llama3PythonTag(ToolCallFormat):
    r"""The program behind `<|python_tag|>`, or a call as JSON: Llama 3.1, 3.2, 3.3.

    The program reaches to `<|eom_id|>`, `<|eot_id|>` or the end. JSON with "name" and "parameters"
    is a call; a reply that begins with such JSON is one without the tag too, and several are
    separated by `;`. After the prompt format of meta-llama/Llama-3.1-8B-Instruct ("Code
    Interpreter"), its chat template, vLLM's `vllm/tool_parsers/llama_tool_parser.py` and SGLang's
    `function_call/llama32_detector.py`.

    It carries any program: what would be read as something else is written as JSON.

    Args:
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`. `brave_search.call(...)` is such a call.

    Example:
        >>> [block.code for block in Llama3PythonTag().parse("<|python_tag|>1 + 1<|eom_id|>")]
        ['1 + 1']
    """

    name = "llama3"

    def calls(self, text: str) -> Iterator[Call]:
        """Return the calls of a text."""
        reader = JSONReader(text, _END)
        position = 0
        tagged = False
        while (start := text.find(_TAG, position)) >= 0:
            position = start + len(_TAG)
            if in_quotes(text, start, position):
                continue
            tagged = True
            found = list(self._json_calls(text, reader, start, position))
            if not found:
                found = [self._program(text, start, position)]
            position = found[-1].end
            yield from found
        if not tagged:
            start = _skip(_LEAD, text, 0)
            yield from self._json_calls(text, reader, start, start, tagged=False)

    def _program(self, text: str, start: int, position: int) -> Call:
        ending = _END.search(text, position)
        code = text[position : ending.start() if ending else len(text)]
        end = position + len(code)
        if ending is not None and ending[0] != _TAG:
            end = ending.end()
        other = _BUILT_IN.match(code)
        return Call(start, end, other[1] if other else self.tools[0], code=code)

    def _json_calls(
        self, text: str, reader: JSONReader, start: int, position: int, *, tagged: bool = True
    ) -> Iterator[Call]:
        """Find the calls as JSON, if it is one that begins there."""
        position = _skip(_SPACE, text, position)
        while text.startswith("{", position):
            reading = reader.read(position)
            if reading.problem is not None and _is_meant(text, position, tagged=tagged):
                problem = f"The JSON of the call can't be read: {told(reading, text)}."
                call = as_call(reading.value, start, reading.end)
                yield Call(start, reading.end, call.name, call.arguments, problem=problem)
                return
            if reading.problem is not None or not _is_call(reading.value):
                return
            yield as_call(reading.value, start, reading.end)
            start = position = _skip(_BETWEEN, text, reading.end)

    def write(self, code: str) -> str:
        """Write a call."""
        text = f"{_TAG}{code}<|eom_id|>"
        if self._carries(text, code):
            return text
        return f"{_TAG}{json_object(self, code, 'parameters')}<|eom_id|>"


def _is_call(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("name"), str)
        and ("parameters" in value or "arguments" in value)
    )


def _is_meant(text: str, position: int, *, tagged: bool) -> bool:
    """Whether JSON that can't be read is meant as a call."""
    if tagged:
        return _NAMED.match(text, position) is not None
    end = position + _NEAR
    return all(pattern.search(text, position, end) for pattern in (_NAME, _ARGUMENTS))


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    assert match is not None  # it matches nothing too
    return match.end()
