"""From what stands between two delimiters to a program, and back."""

from __future__ import annotations

import json
import re

from llm_transforms.parsing.markdown import MarkdownFences

_LINE_END = re.compile(r"\r\n?|\n")
_FENCES = MarkdownFences(bare=True)


def with_newlines(text: str) -> str:
    r"""Return the text with `\n` at its line ends."""
    return _LINE_END.sub("\n", text) if "\r" in text else text


def program_in(text: str) -> str:
    r"""Return the program that a text holds: without a Markdown fence around it.

    Models put one inside of tags and arguments too, where there should be none. No Python program
    begins like that.

    Example:
        >>> program_in("```python\nprint(1)\n```\n")
        'print(1)'
    """
    text = with_newlines(text)
    if not text.lstrip(" \t\n").startswith(("```", "~~~")):
        return text
    fences = _FENCES.parse(text)
    if len(fences) != 1 or text[: fences[0].start].strip() or text[fences[0].end :].strip():
        return text
    return fences[0].code


def text_of_program(code: str) -> str:
    """Return the text from which `program_in` reads this program: mostly itself."""
    code = with_newlines(code)
    return code if program_in(code) == code else MarkdownFences().render(code)


def without_outer_newlines(text: str) -> str:
    """Take off one line end at the start and one at the end, as models write tags on own lines."""
    return with_newlines(text).removeprefix("\n").removesuffix("\n")


def as_json(value: object) -> str:
    r"""Return JSON that no delimiter can be found in: its strings have no `<`."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")
