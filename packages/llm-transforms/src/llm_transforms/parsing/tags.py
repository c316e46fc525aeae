"""Programs between two tags."""

from __future__ import annotations

import re
from typing import Final

from llm_transforms.errors import InvalidArgumentError
from llm_transforms.parsing.blocks import CodeBlock, TextFormat
from llm_transforms.parsing.calls import rendered
from llm_transforms.parsing.endings import without_end_tokens
from llm_transforms.parsing.markdown import PYTHON
from llm_transforms.parsing.mentions import before_words, in_prose, in_quotes, says_nothing
from llm_transforms.parsing.programs import (
    program_in,
    text_of_program,
    with_newlines,
    without_outer_newlines,
)
from llm_transforms.parsing.thoughts import Thoughts

_NAME = re.compile(r"[A-Za-z_][\w:.-]*")
# A closing tag ends its line, special tokens and other tags aside.
_LINE_ENDS = re.compile(r"[ \t]*+(?:<|\r|\n|\Z)")


class TaggedCode(TextFormat):
    r"""Programs between `<TAG>` and `</TAG>`, a tag of one's own choice.

    By name there are "python_tags" (`<python>`, as the prompts of many RL recipes ask for) and
    "code_tags" (`<code>`, as smolagents has them: `code_block_tags` of its `CodeAgent`).

    A program that is never closed reaches to the end: the closing tag is often the stop string,
    which servers take off. One Markdown fence around the program is taken off, and so is one line
    end at the start and one at the end. The program ends at the first closing tag; one that holds
    it can't be carried.

    A tag may be spoken of, no more: alone between backticks or quotes, and within a line one that
    nothing closes with a space behind it, a pair with nothing between, and one before a tag that
    begins a line. One that nothing closes before the end of the thought it is in (`</think>`) is
    spoken of too.

    Args:
        tag: Name of the tag.
        prose: Whether the text may use the tag for something else, as `<code>` in HTML: then a
            program begins a line, and has several or is closed at the end of one.
        name: The format's name; made of the tag's if not given.

    Raises:
        InvalidArgumentError: `tag` is no name.

    Example:
        >>> text = "First:\n<run>\nprint(1)\n</run>\nThen:\n<run>print(2)"
        >>> [block.code for block in TaggedCode("run").parse(text)]
        ['print(1)', 'print(2)']
    """

    def __init__(self, tag: str, *, prose: bool = False, name: str | None = None) -> None:
        if not _NAME.fullmatch(tag):
            raise InvalidArgumentError("tag", tag, "the name of a tag")
        self.tag: Final = tag
        self.prose: Final = prose
        self.name = f"{tag}_tags" if name is None else name
        self._tags = re.compile(rf"<(?P<closing>/)?{re.escape(tag)}(?:\s[^<>]{{0,200}}+)?>")

    def parse(self, text: str) -> list[CodeBlock]:
        """Return the programs of a text, in their order."""
        blocks: list[CodeBlock] = []
        opened: re.Match[str] | None = None
        thoughts = Thoughts(text)
        for tag in self._tags.finditer(text):
            if opened is not None and thoughts.end_between(opened.start(), tag.start()):
                opened = None
            if opened is None:
                if not tag["closing"] and not in_quotes(text, *tag.span()):
                    opened = tag
            elif not tag["closing"]:
                # Spoken of, as the program begins only now: "Use <code>: \n<code>..."
                if in_prose(text, opened.start()) and not in_prose(text, tag.start()):
                    opened = tag
            else:
                if self._closes(text, opened, tag):
                    blocks.append(self._block(text, opened, tag.start(), tag.end()))
                opened = None
        if (
            opened is not None
            and not self._spoken_of(text, opened)
            and not thoughts.end_between(opened.start(), len(text))
        ):
            blocks.append(self._block(text, opened, len(text), len(text)))
        return blocks

    def render(self, code: str) -> str:
        r"""Return the program between the tags.

        Raises:
            InvalidArgumentError: It holds the closing tag, or begins with an opening one.
        """
        text = f"<{self.tag}>\n{text_of_program(code)}\n</{self.tag}>"
        return rendered(self, code, text)

    def _closes(self, text: str, opened: re.Match[str], closing: re.Match[str]) -> bool:
        between = text[opened.end() : closing.start()]
        if not in_prose(text, opened.start()):
            several = not says_nothing(between) and "\n" in between.strip()
            ends_line = _LINE_ENDS.match(text, closing.end()) is not None
            return not self.prose or ends_line or between[:1] in ("\n", "\r") or several
        return not self.prose and not says_nothing(between)

    def _spoken_of(self, text: str, opened: re.Match[str]) -> bool:
        """Whether a tag that nothing closes is a part of a sentence."""
        return in_prose(text, opened.start()) and (self.prose or before_words(text, opened.end()))

    def _block(self, text: str, opened: re.Match[str], content_end: int, end: int) -> CodeBlock:
        code = text[opened.end() : content_end]
        if content_end == end:  # nothing closes it
            code = without_end_tokens(code)
        code = without_outer_newlines(code)
        if not text.startswith(("\n", "\r"), opened.end()):
            code = code.lstrip(" \t")
        language = self.tag if self.tag in PYTHON else ""
        return CodeBlock(program_in(with_newlines(code)), opened.start(), end, language)

    def __repr__(self) -> str:
        return f"TaggedCode({self.tag!r}, prose={self.prose})"
