"""Formats and formatters by name, and of one's own."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from llm_transforms import CodeBlock, Message, Outcome, UnknownNameError
from llm_transforms.parsing import CODE_FORMATS, MarkdownFences, code_format
from llm_transforms.results import RESULT_FORMATTERS, CodeBlockResults, result_formatter


class Tags:
    """A format from outside: no base class, just the two members."""

    name = "tags"

    def blocks(self, message: Mapping[str, Any]) -> Sequence[CodeBlock]:
        found = re.finditer(r"<run>(.*?)</run>", message["content"])
        return [CodeBlock(match[1], *match.span()) for match in found]


class Joined:
    """A formatter from outside."""

    name = "joined"

    def messages(self, outcomes: Sequence[Outcome], role: str) -> list[Message]:
        return [{"role": "user", "content": "".join(o.result["stdout"] for o in outcomes)}]


def test_every_name_makes_what_has_that_name() -> None:
    assert [code_format(name).name for name in CODE_FORMATS] == list(CODE_FORMATS)
    names = ["code_blocks", "interpreter", "openai", "output", "output_fence", "tool_response"]
    assert sorted(RESULT_FORMATTERS) == names
    assert [result_formatter(name).name for name in names] == names


def test_an_object_is_taken_as_it_is() -> None:
    for format_ in (MarkdownFences(bare=True), Tags()):
        assert code_format(format_) is format_
    for formatter in (CodeBlockResults(), Joined()):
        assert result_formatter(formatter) is formatter


@pytest.mark.parametrize("choose", [code_format, result_formatter])
@pytest.mark.parametrize("choice", ["nothing", "", 3, None, object(), Tags, Joined])
def test_what_is_neither_a_name_nor_an_object_is_refused(
    choose: Callable[[Any], object], choice: object
) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown .*; there: .*(markdown|code_blocks)"):
        choose(choice)
