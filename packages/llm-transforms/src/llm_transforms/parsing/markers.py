"""Calls between special tokens, with their arguments as JSON; Kimi K2's are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from llm_transforms.parsing.calls import Call, ToolCallFormat, told
from llm_transforms.parsing.json_text import JSONReader
from llm_transforms.parsing.mentions import in_quotes
from llm_transforms.parsing.programs import as_json

_BEFORE = re.compile(r"\s*+(?:`{3,}+\w*+\s*+)?")
_AFTER = re.compile(r"[\s`}]*+")
# DeepSeek V3 has the name of the tool on the line before the arguments.
_NAME_LINE = re.compile(r"\s*+([^\s`{<]{1,100}+)[ \t]*+(?=[\r\n`{])")


@dataclass(frozen=True)
class Tokens:
    """The special tokens of a format, around the head of a call and its JSON.

    Attributes:
        begin: What begins a call.
        separator: What stands between its head and its arguments.
        end: What ends it.
        section_end: What ends all calls of a message.
    """

    begin: str
    separator: str
    end: str
    section_end: str


_KIMI = Tokens(
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
)


def token_calls(text: str, tokens: Tokens) -> Iterator[tuple[str, Call]]:
    """Find the calls of a text, each with its head; a name may follow on the separator."""
    token = re.compile(
        "|".join(map(re.escape, (tokens.begin, tokens.separator, tokens.end, tokens.section_end)))
    )
    reader = JSONReader(text, token)
    position = 0
    while (start := text.find(tokens.begin, position)) >= 0:
        position = start + len(tokens.begin)
        if in_quotes(text, start, position):
            continue
        separator = token.search(text, position)
        if separator is None or separator[0] != tokens.separator:
            if separator is not None and separator[0] != tokens.begin:
                position = separator.end()
            yield "", Call(start, position, problem=f"The call has no {tokens.separator}.")
            continue
        head = text[position : separator.start()].strip()
        name = _NAME_LINE.match(text, separator.end())
        position = name.end() if name else separator.end()
        before = _BEFORE.match(text, position)
        reading = reader.read(before.end() if before else position)
        problem = None
        if reading.problem is not None:
            problem = f"The arguments are no JSON: {told(reading, text)}."
            following = token.search(text, position)
            position = reading.end if following is None else following.start()
        else:
            position = reading.end
        after = _AFTER.match(text, position)
        if after and text.startswith(tokens.end, after.end()):
            position = after.end() + len(tokens.end)
        yield head, Call(start, position, name[1] if name else "", reading.value, problem=problem)


class KimiToolCalls(ToolCallFormat):
    r"""Special tokens around an identifier and JSON: Kimi K2.

    After the chat template and `docs/tool_call_guidance.md` of moonshotai/Kimi-K2-Instruct, and
    SGLang's `function_call/kimik2_detector.py`. The `call_id` is what the model writes, like
    "functions.python:0", and the name of the tool is in it. It carries any program.

    Args:
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`.

    Example:
        >>> text = "<|tool_calls_section_begin|><|tool_call_begin|>functions.python:0"
        >>> text += '<|tool_call_argument_begin|>{"code": "1 + 1"}<|tool_call_end|>'
        >>> text += "<|tool_calls_section_end|>"
        >>> [(block.code, block.call_id) for block in KimiToolCalls().parse(text)]
        [('1 + 1', 'functions.python:0')]
    """

    name = "kimi"

    def calls(self, text: str) -> Iterator[Call]:
        """Return the calls of a text."""
        for head, call in token_calls(text, _KIMI):
            name = re.sub(r":\d+\Z", "", head[-200:])
            yield Call(call.start, call.end, name, call.arguments, None, head or None, call.problem)

    def write(self, code: str) -> str:
        """Write a section with one call."""
        return (
            "<|tool_calls_section_begin|>"
            f"<|tool_call_begin|>functions.{self.tools[0]}:0<|tool_call_argument_begin|>"
            f"{as_json({self.arguments[0]: code})}<|tool_call_end|><|tool_calls_section_end|>"
        )
