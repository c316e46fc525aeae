"""The harmony format of gpt-oss."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from llm_transforms.parsing.calls import Call, ToolCallFormat, read_alone, told
from llm_transforms.parsing.programs import as_json

_MESSAGE = "<|message|>"
# Any of these ends what stands in a message; a text within has none of them.
_TOKEN = re.compile(r"<\|(?:start|channel|message|constrain|call|end|return)\|>")
# The longest head of a message that is looked at (characters).
_LONGEST_HEAD = 500
# The recipient stands behind the role or behind the channel; the type behind it, with <|constrain|>
# or without.
_HEAD = re.compile(
    r"""
    (?:<\|start\|>)?+ (?P<role>assistant)?+
    (?:\s*+to=(?P<first>[^\s<]++))?+
    (?:\s*+<\|channel\|>(?P<channel>\w++)(?:\s++to=(?P<second>[^\s<]++))?+)?+
    \s*+(?:<\|constrain\|>\s*+)?+(?P<type>[\w-]++)?+\s*+
    """,
    re.VERBOSE,
)


class HarmonyToolCalls(ToolCallFormat):
    r"""A message to `python`, or to `functions.NAME` with JSON: gpt-oss.

    The recipient is read behind the role and behind the channel, in every channel; the message
    reaches to `<|call|>`, the next special token or the end. What is sent to `functions.python`,
    or is declared as JSON, or is a JSON object with the argument, is read as JSON; everything else
    is the program. After openai/harmony's `docs/format.md` ("Receiving tool calls", "Python tool"),
    the chat template of openai/gpt-oss-20b, and SGLang's `function_call/gpt_oss_detector.py`.

    It carries any program: what would be read as something else is written as JSON.

    Args:
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`. A message to `browser.search` is such a call.

    Example:
        >>> text = "<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant"
        >>> text += "<|channel|>analysis to=python code<|message|>1 + 1<|call|>"
        >>> [block.code for block in HarmonyToolCalls().parse(text)]
        ['1 + 1']
    """

    name = "harmony"

    def calls(self, text: str) -> Iterator[Call]:
        """Return the calls of a text."""
        position = 0
        while (message := text.find(_MESSAGE, position)) >= 0:
            first = max(position, message - _LONGEST_HEAD)
            start = text.rfind("<|start|>", first, message)
            if start < 0:
                # The prompt ends with the role, so the first message has none.
                start = text.find("<|channel|>", first, message)
                if text[first:message].lstrip().startswith("to="):
                    start = first
            position = message + len(_MESSAGE)
            head = _HEAD.fullmatch(text, start, message) if start >= 0 else None
            recipient = (head["first"] or head["second"]) if head else None
            if head is None or recipient is None or recipient in ("assistant", "user", "all"):
                continue
            ending = _TOKEN.search(text, position)
            end = ending.start() if ending else len(text)
            content = text[position:end]
            position = end
            if ending and ending[0] in ("<|call|>", "<|end|>", "<|return|>"):
                position = ending.end()
            yield self._call(start, position, recipient, head["type"], content)

    def _call(self, start: int, end: int, name: str, type_: str | None, content: str) -> Call:
        declared = type_ == "json" or (name.startswith("functions.") and type_ != "code")
        if not declared and not content.lstrip().startswith("{"):
            return Call(start, end, name, code=content)
        reading = read_alone(content)
        if reading.problem is not None and declared:
            problem = f"The arguments are no JSON: {told(reading, content)}."
            return Call(start, end, name, reading.value, problem=problem)
        arguments = reading.value
        is_object = isinstance(arguments, Mapping) and any(
            map(arguments.__contains__, self.arguments)
        )
        if declared or (reading.problem is None and is_object):
            return Call(start, end, name, arguments)
        return Call(start, end, name, code=content)

    def write(self, code: str) -> str:
        """Write a message."""
        tool = self.tools[0]
        text = f"<|start|>assistant<|channel|>analysis to={tool} code<|message|>{code}<|call|>"
        if [(call.name, call.code) for call in self.calls(text)] == [(tool, code)]:
            return text
        return (
            f"<|start|>assistant<|channel|>commentary to=functions.{tool} <|constrain|>json"
            f"<|message|>{as_json({self.arguments[0]: code})}<|call|>"
        )
