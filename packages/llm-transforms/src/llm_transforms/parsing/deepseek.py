"""Every form in which DeepSeek's models have written tool calls."""

# ruff: noqa: RUF001, RUF002 - DeepSeek's special tokens have full-width bars

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain
from typing import Literal, TypeAlias, get_args

from llm_transforms.errors import InvalidArgumentError
from llm_transforms.parsing.calls import (
    CODE_ARGUMENTS,
    PYTHON_TOOLS,
    Call,
    ToolCallFormat,
    UnknownTools,
)
from llm_transforms.parsing.markers import Tokens, token_calls
from llm_transforms.parsing.markup import Markup
from llm_transforms.parsing.merging import in_order
from llm_transforms.parsing.programs import as_json
from llm_transforms.parsing.xml_calls import between_tags

_DEEPSEEK = Tokens(
    "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"
)

DeepSeekVersion: TypeAlias = Literal["v3", "v3.1", "v3.2"]

_NAME = r'"([^"<>]{1,100}+)"'


def _dsml(prefix: str, section: str) -> Markup:
    return Markup(
        f"<{prefix}{section}>",
        f"</{prefix}{section}>",
        rf"<{prefix}invoke\s++name={_NAME}\s*+>",
        f"</{prefix}invoke>",
        rf'<{prefix}parameter\s++name={_NAME}(?:\s++string="\w*+")?+\s*+>',
        f"</{prefix}parameter>",
    )


# V3.2 and V4.
_DSMLS = (_dsml("｜DSML｜", "function_calls"), _dsml("｜DSML｜", "tool_calls"))


class DeepSeekToolCalls(ToolCallFormat):
    r"""DeepSeek V3, R1, V3.1, V3.2 and V4.

    V3 and R1 have the JSON in a fence, with the tool's name on the line before; V3.1 has the name
    and the JSON between special tokens. V3.2 and V4 have tags, with each argument in one (or all of
    them as JSON). After the chat templates of deepseek-ai/DeepSeek-V3-0324, DeepSeek-R1-0528,
    DeepSeek-V3.1 and DeepSeek-V3.2, vLLM's `vllm/tool_parsers/deepseekv3_tool_parser.py`,
    `deepseekv31_tool_parser.py` and `deepseekv32_tool_parser.py`, and SGLang's `function_call/`
    with detectors of the same names and `deepseekv4_detector.py`. All are read; as V3 and V3.1 it
    carries any program, as V3.2 none that holds a closing tag of a parameter with that of a call
    behind it, or the beginning of a call: see `markup`.

    Args:
        version: Which of them `render` writes: "v3", "v3.1" or "v3.2".
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`.

    Raises:
        InvalidArgumentError: There is no such version; see `ToolCalls`.

    Example:
        >>> text = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>python<｜tool▁sep｜>"
        >>> text += '{"code": "1 + 1"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>'
        >>> [block.code for block in DeepSeekToolCalls().parse(text)]
        ['1 + 1']
    """

    name = "deepseek"

    def __init__(
        self,
        version: DeepSeekVersion = "v3.1",
        *,
        tools: Collection[str] = PYTHON_TOOLS,
        arguments: Collection[str] = CODE_ARGUMENTS,
        unknown_tools: UnknownTools = "report",
    ) -> None:
        if version not in get_args(DeepSeekVersion):
            raise InvalidArgumentError("version", version, "'v3', 'v3.1' or 'v3.2'")
        self.version = version
        super().__init__(tools=tools, arguments=arguments, unknown_tools=unknown_tools)

    def calls(self, text: str) -> list[Call]:
        """Return the calls of a text."""
        tags = chain.from_iterable(markup.calls(text) for markup in _DSMLS)
        return in_order(chain(self._token_calls(text), tags), lambda call: not call.name)

    def _token_calls(self, text: str) -> Iterator[Call]:
        for head, call in token_calls(text, _DEEPSEEK):
            # In V3's form the head is the type of the call, "function".
            name = call.name or head
            yield Call(call.start, call.end, name, call.arguments, problem=call.problem)

    def write(self, code: str) -> str:
        """Write a section with one call."""
        tool, argument = self.tools[0], self.arguments[0]
        if self.version == "v3.2":
            return (
                f'<｜DSML｜function_calls>\n<｜DSML｜invoke name="{tool}">\n'
                f'<｜DSML｜parameter name="{argument}" string="true">{between_tags(code)}'
                "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"
            )
        call = as_json({argument: code})
        if self.version == "v3":
            call = f"function<｜tool▁sep｜>{tool}\n```json\n{call}\n```"
        else:
            call = f"{tool}<｜tool▁sep｜>{call}"
        return (
            f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{call}<｜tool▁call▁end｜>"
            "<｜tool▁calls▁end｜>"
        )

    def __repr__(self) -> str:
        return super().__repr__().replace("(", f"({self.version!r}, ", 1)
