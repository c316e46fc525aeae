"""Calls that are written in tags, with the program as it is between two of them.

Nothing in such a program is escaped, so it may hold what looks like a tag. A closing tag ends it
only if what must follow on it follows; so does a whole new call, whatever was closed before. What
is closed by nothing like that ends at the first tag that could be meant, or else with the text.
The parsers of vLLM and SGLang end it at the first closing tag, which is the same for all programs
that hold no such tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from llm_transforms.parsing.calls import Call, told
from llm_transforms.parsing.endings import without_end_tokens
from llm_transforms.parsing.json_text import JSONReader
from llm_transforms.parsing.mentions import in_prose, in_quotes, says_nothing
from llm_transforms.parsing.programs import without_outer_newlines

# Some models write the two characters \n where the template has a line end.
SPACE = r"(?:\s|\\n)*+"
_SPACE = re.compile(SPACE)


@dataclass(frozen=True)
class Markup:
    """The tags of a format.

    Attributes:
        opening: What begins calls.
        closing: What ends them.
        function: Pattern of what begins one call; its group is the name of the tool.
        function_end: What ends one call.
        parameter: Pattern of what begins an argument; its group is the name.
        parameter_end: What ends it.
        bare: Whether a call may stand without `opening`, and several after one.
    """

    opening: str
    closing: str
    function: str
    function_end: str
    parameter: str
    parameter_end: str
    bare: bool = True
    _patterns: dict[str, re.Pattern[str]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        opening, closing, function_end, parameter_end = map(
            re.escape, (self.opening, self.closing, self.function_end, self.parameter_end)
        )
        optional = "?+" if self.bare else ""
        anew = rf"(?:{opening}{SPACE}){optional}{self.function}{SPACE}(?={self.parameter})"
        sources = {
            "function": self.function,
            "parameter": self.parameter,
            "start": f"{opening}|{self.function}" if self.bare else opening,
            "tag": f"{opening}|{closing}",
            "delimiter": f"{opening}|{closing}|{function_end}" + f"|{self.function}" * self.bare,
            # What may end a value, and what must follow on it.
            "ends": rf"(?P<anew>{anew})|(?P<value>{parameter_end})|(?P<call>{function_end})"
            rf"|(?P<calls>{closing})|(?<=\n)(?P<next>{self.parameter})",
            "value": rf"{SPACE}(?:{self.parameter}|{function_end}|{closing}|{anew}|\Z)",
            "call": rf"{SPACE}(?:{closing}|{opening}|{anew}|\Z)",
            "calls": rf"{SPACE}(?:{opening}|{anew}|\Z)",
            "next": "",
        }
        self._patterns.update((name, re.compile(each)) for name, each in sources.items())

    def calls(self, text: str) -> Iterator[Call]:
        """Find the calls of a text, in time linear in its length."""
        reader = JSONReader(text, self._patterns["delimiter"])
        starts, function = self._patterns["start"], self._patterns["function"]
        position = 0
        while (tag := starts.search(text, position)) is not None:
            start, position = tag.span()
            if in_quotes(text, start, position):
                continue
            opened = tag[0] == self.opening
            found = function.match(text, _skip(text, position) if opened else start)
            if found is None:
                malformed, position = self._malformed(text, start, position)
                if malformed is not None:
                    yield malformed
                continue
            call = self._call(text, start, found, reader)
            position = call.end
            yield call

    def _call(self, text: str, start: int, function: re.Match[str], reader: JSONReader) -> Call:
        """Read the call whose tag with the name is given."""
        arguments: object = {}
        problem = None
        position = function.end()
        after = _skip(text, position)
        if text.startswith("{", after):
            reading = reader.read(after)
            arguments, position = reading.value, reading.end
            if reading.problem is not None:
                problem = f"The arguments are no JSON: {told(reading, text)}."
                position = after
        else:
            arguments, position = self._arguments(text, position)
        if problem is not None or not arguments:
            # What stands there instead belongs to the call too.
            other = self._patterns["delimiter"].search(text, position)
            if other is not None and other[0] in (self.function_end, self.closing):
                position = other.start()
        for ending in (self.function_end, self.closing):
            after = _skip(text, position)
            if text.startswith(ending, after):
                position = after + len(ending)
        return Call(start, position, function[1], arguments, problem=problem)

    def _arguments(self, text: str, position: int) -> tuple[dict[str, str], int]:
        arguments: dict[str, str] = {}
        while tag := self._patterns["parameter"].match(text, _skip(text, position)):
            end, position = self._value_end(text, tag.end())
            value = text[tag.end() : end]
            if end == len(text):  # nothing closes it
                value = without_end_tokens(value)
            arguments[tag[1]] = without_outer_newlines(value)
        return arguments, position

    def _value_end(self, text: str, start: int) -> tuple[int, int]:
        """Return where a value ends, and where to go on."""
        spare = None
        end = len(text)
        for tag in self._patterns["ends"].finditer(text, start):
            kind = tag.lastgroup or ""
            if kind == "anew":
                end = tag.start()
                break
            after = tag.end() if kind == "value" else tag.start()
            if self._patterns[kind].match(text, tag.end()):
                return tag.start(), after
            spare = spare or (tag.start(), after)
        return spare or (end, end)

    def _malformed(self, text: str, start: int, position: int) -> tuple[Call | None, int]:
        """Return the call that names no tool, unless it is none; and where to go on."""
        other = self._patterns["tag"].search(text, position)
        closed = other is not None and other[0] == self.closing
        payload = text[position : other.start() if other else len(text)]
        if in_prose(text, start) and (not closed or says_nothing(payload)):
            return None, position
        end = position
        if other is not None:
            end = other.end() if closed else other.start()
        return Call(start, end, problem="The call names no tool."), end


def _skip(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    assert space is not None  # it matches nothing too
    return space.end()
