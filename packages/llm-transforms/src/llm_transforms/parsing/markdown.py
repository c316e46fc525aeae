"""Markdown fences, as most chat models write code."""

from __future__ import annotations

import re
from collections.abc import Collection
from os.path import commonprefix

from llm_transforms.errors import InvalidArgumentError
from llm_transforms.parsing.blocks import CodeBlock, TextFormat
from llm_transforms.parsing.endings import without_end_tokens
from llm_transforms.parsing.fences import Fence, find_fences

PYTHON = ("python", "py", "python3")
"""The languages that mean Python."""

# "{.python title=x}" and "{python}" are Pandoc's and R Markdown's ways to write attributes.
_LANGUAGE = re.compile(r"\{?[ \t]*\.?(?P<language>[^\s{},:;=]*)")
_FENCE_RUN = re.compile(r"`{3,}")
_LINE_END = re.compile(r"\r\n?|\n")


class MarkdownFences(TextFormat):
    r"""Fenced code blocks of a Markdown text.

    CommonMark 0.31 is followed: fences of backticks or tildes, longer ones around shorter ones,
    indented ones, in lists and block quotes, with LF, CRLF or CR at the line ends; a fence that is
    never closed reaches to the end. Only HTML blocks are not known: a fence below `<answer>` is a
    fence. Time is linear in the text's length.

    Unless `strict`, it also reads what models mean:

    - Fences in pairs inside a triple-quoted string don't end the block around them.
    - Special tokens and tags may stick to a fence: three backticks and `<|im_end|>` end a block.
      Those at the end of a block that is never closed are none of its code.
    - A fence with a language counts at any indentation.
    - Code that is indented less than its fence belongs to it; what all its lines have in common is
      then its indentation.
    - No program has three backticks outside of its strings and comments. So they end a block behind
      code ("print(1)" and a fence) and at any indentation; with a word that sticks to them they
      begin the next block ("output"). Words behind a space are passed over, if the block is closed
      by nothing else before the next one.
    - A fence with a language may stand behind words, at the end of a line, if code follows on it
      and the next fence closes it on a line of its own.
    - A block that is open when a thought ends (`</think>`) is none, unless it is closed later.

    Args:
        languages: Languages of the blocks to take, any case. Attributes after the language are
            overlooked ("python title=x", "python:main.py", "{.python .numberLines}").
        bare: Whether to take blocks without a language too.
        strict: Whether to follow CommonMark alone.

    Raises:
        InvalidArgumentError: `languages` is no collection of strings.

    Example:
        >>> [block.code for block in MarkdownFences().parse("Try:\n```python\nprint(1)\n```")]
        ['print(1)']
    """

    name = "markdown"

    def __init__(
        self, languages: Collection[str] = PYTHON, *, bare: bool = False, strict: bool = False
    ) -> None:
        if isinstance(languages, str) or not all(isinstance(each, str) for each in languages):
            raise InvalidArgumentError("languages", languages, "a collection of languages")
        self.languages = frozenset(language.lower() for language in languages)
        self.bare = bare
        self.strict = strict

    def parse(self, text: str) -> list[CodeBlock]:
        """Return the blocks of the chosen languages, in their order."""
        fences = find_fences(text, self._takes, lenient=not self.strict)
        return [self._block(each) for each in fences if not each.cut and self._takes(each.info)]

    def render(self, code: str) -> str:
        """Return the code in a fence that is longer than any within it."""
        longest = max(map(len, _FENCE_RUN.findall(code)), default=2)
        fence = "`" * (longest + 1)
        known = [language for language in PYTHON if language in self.languages]
        language = next(iter(known or sorted(self.languages)), "")
        lines = _LINE_END.sub("\n", code)
        return f"{fence}{language}\n{lines}\n{fence}"

    def _takes(self, info: str) -> bool:
        language = _language(info)
        return language in self.languages if language else self.bare and not info

    def _block(self, fence: Fence) -> CodeBlock:
        as_written = fence.ragged and not self.strict and not fence.quoted
        code = "\n".join(_without_common_indent(fence.raw) if as_written else fence.lines)
        return CodeBlock(
            code=code if fence.closed or self.strict else without_end_tokens(code),
            start=fence.start,
            end=fence.end,
            language=_language(fence.info),
            info=fence.info,
        )

    def __repr__(self) -> str:
        return f"MarkdownFences({sorted(self.languages)}, bare={self.bare}, strict={self.strict})"


def _without_common_indent(lines: list[str]) -> list[str]:
    """Take off the white space that all lines begin with, blank ones aside."""
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line.strip(" \t")]
    width = len(commonprefix(indents))  # noqa: RUF071 - characters are what is wanted
    return [line[width:] for line in lines]


def _language(info: str) -> str:
    language = _LANGUAGE.match(info)
    return language["language"].lower() if language else ""
