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
# What ends the message before, so that it is no part of a head.
_LAST = re.compile(r"<\|(?:call|end|return)\|>")
# The prompt ends with the role, so the first message may begin with the recipient.
_RECIPIENT_FIRST = re.compile(r"\s*+to=[^\s<]++(?:\s++[\w-]++)?+\s*+<\|")
# What a head consists of. Models put the parts in any order.
_PART = re.compile(
    r"<\|(?P<token>\w++)\|>|to=\s*+(?P<recipient>[^\s<]++)|(?P<word>(?:(?!to=)[^\s<])++)"
)


class HarmonyToolCalls(ToolCallFormat):
    r"""A message to `python`, or to `functions.NAME` with JSON: gpt-oss.

    The recipient is read wherever it stands in the head, in every channel; the message reaches to
    `<|call|>`, the next special token or the end. What is declared as JSON, or is sent to
    `functions.python` and not declared as something else, or is a JSON object with the argument, is
    read as JSON; everything else is the program. After openai/harmony's `docs/format.md`
    ("Receiving tool calls", "Python tool"), the chat template of openai/gpt-oss-20b, and SGLang's
    `function_call/gpt_oss_detector.py`.

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
            start = _start_of_head(text, position, message)
            recipient, type_ = _head(text, start, message)
            content_start = message + len(_MESSAGE)
            ending = _TOKEN.search(text, content_start)
            end = position = ending.start() if ending else len(text)
            if ending and _LAST.match(ending[0]):
                position = ending.end()
            if recipient is None or recipient in ("assistant", "user", "all"):
                continue
            content = text[content_start:end]
            yield self._call(start, position, recipient, type_, content)

    def _call(self, start: int, end: int, name: str, type_: str | None, content: str) -> Call:
        braced = content.lstrip().startswith("{")
        # Functions are called with JSON, unless the message says that it is something else and is.
        function = name.startswith("functions.") and type_ != "code" and (type_ is None or braced)
        declared = type_ == "json" or function
        if not declared and not braced:
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
        if self._carries(text, code):
            return text
        return (
            f"<|start|>assistant<|channel|>commentary to=functions.{tool} <|constrain|>json"
            f"<|message|>{as_json({self.arguments[0]: code})}<|call|>"
        )


def _start_of_head(text: str, position: int, message: int) -> int:
    """Return where the head before this `<|message|>` starts; its end if there is none."""
    first = max(position, message - _LONGEST_HEAD)
    for last in _LAST.finditer(text, first, message):
        first = last.end()
    start = text.rfind("<|start|>", first, message)
    if start < 0:
        start = text.find("<|channel|>", first, message)
        if _RECIPIENT_FIRST.match(text, first):
            start = first
    return message if start < 0 else start


def _head(text: str, start: int, end: int) -> tuple[str | None, str | None]:
    """Return to whom a message goes, and the type it says it has: behind <|constrain|> or bare."""
    recipient = constraint = bare = before = None
    for part in _PART.finditer(text, start, end):
        word = part["word"]
        if part["recipient"]:
            recipient = recipient or part["recipient"]
        elif word and before == "start" and word != "assistant":
            return None, None
        elif word and before == "constrain":
            constraint = word
        elif word and before not in ("start", "channel"):
            bare = word
        before = part["token"]
    return recipient, constraint or bare
