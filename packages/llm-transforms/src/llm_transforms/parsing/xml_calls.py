"""Formats whose models write each argument between tags: Qwen3-Coder, Seed-OSS, MiniMax, GLM."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from llm_transforms.parsing.calls import Call, ToolCallFormat
from llm_transforms.parsing.json_tags import json_calls
from llm_transforms.parsing.markup import SPACE, Markup
from llm_transforms.parsing.merging import in_order

_NAME = r"""["']?+([^"'<>\s]{1,100}+)["']?+"""
_FUNCTION = rf"<function(?:\s++name)?+\s*+=\s*+{_NAME}\s*+>"
_PARAMETER = rf"<parameter(?:\s++name)?+\s*+=\s*+{_NAME}\s*+>"
_QWEN = Markup("<tool_call>", "</tool_call>", _FUNCTION, "</function>", _PARAMETER, "</parameter>")
_SEED = Markup(
    "<seed:tool_call>", "</seed:tool_call>", _FUNCTION, "</function>", _PARAMETER, "</parameter>"
)
_MINIMAX = Markup(
    "<minimax:tool_call>",
    "</minimax:tool_call>",
    rf"<invoke\s++name\s*+=\s*+{_NAME}\s*+>",
    "</invoke>",
    _PARAMETER,
    "</parameter>",
)
_GLM = Markup(
    "<tool_call>",
    "</tool_call>",
    rf"([\w.:-]{{1,100}}+)(?={SPACE}(?:<arg_key>|</tool_call>|\Z))",
    "</tool_call>",
    rf"<arg_key>\s*+([^<>\s]{{1,100}}+)\s*+</arg_key>{SPACE}<arg_value>",
    "</arg_value>",
    bare=False,
)


class Qwen3CoderToolCalls(ToolCallFormat):
    r"""Each argument in tags: Qwen3-Coder, Qwen3.5, Nemotron 3, Step 3.5.

    `<tool_call>`, `<function=NAME>`, `<parameter=NAME>`, after the chat template of
    Qwen/Qwen3-Coder-480B-A35B-Instruct, vLLM's `vllm/tool_parsers/qwen3coder_tool_parser.py` and
    SGLang's `function_call/qwen3_coder_detector.py`.

    One line end at the start and one at the end of the program belong to the tags. Tags that are
    missing at the end, `<function=NAME>` without `<tool_call>` before it and JSON in place of the
    parameters are read as what they mean. It can't carry a program that holds a closing tag of a
    parameter with that of a function behind it, or the beginning of a call: see `markup`.

    Args:
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`.

    Example:
        >>> text = "<tool_call>\n<function=python>\n<parameter=code>\n1 + 1\n</parameter>\n"
        >>> text += "</function>\n</tool_call>"
        >>> [block.code for block in Qwen3CoderToolCalls().parse(text)]
        ['1 + 1']
    """

    name = "qwen3_coder"

    def calls(self, text: str) -> Iterator[Call]:
        """Return the calls of a text."""
        return _QWEN.calls(text)

    def write(self, code: str) -> str:
        """Write a call."""
        return (
            f"<tool_call>\n<function={self.tools[0]}>\n<parameter={self.arguments[0]}>\n{code}\n"
            "</parameter>\n</function>\n</tool_call>"
        )


class SeedToolCalls(ToolCallFormat):
    r"""Qwen3-Coder's tags within `<seed:tool_call>`: Seed-OSS.

    After the chat template of ByteDance-Seed/Seed-OSS-36B-Instruct and vLLM's
    `vllm/tool_parsers/seed_oss_tool_parser.py`. It reads and carries what `Qwen3CoderToolCalls`
    does.

    Args:
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`.

    Example:
        >>> text = "<seed:tool_call>\n<function=python>\n<parameter=code>1 + 1</parameter>\n"
        >>> text += "</function>\n</seed:tool_call>"
        >>> [block.code for block in SeedToolCalls().parse(text)]
        ['1 + 1']
    """

    name = "seed"

    def calls(self, text: str) -> Iterator[Call]:
        """Return the calls of a text."""
        return _SEED.calls(text)

    def write(self, code: str) -> str:
        """Write a call."""
        return (
            f"<seed:tool_call>\n<function={self.tools[0]}>\n"
            f"<parameter={self.arguments[0]}>{between_tags(code)}</parameter>\n"
            "</function>\n</seed:tool_call>"
        )


class GLMToolCalls(ToolCallFormat):
    r"""Name, `<arg_key>` and `<arg_value>`: GLM-4.5, 4.6, 4.7.

    After the chat template of zai-org/GLM-4.5, vLLM's `vllm/tool_parsers/glm4_moe_tool_parser.py`
    and SGLang's `function_call/glm4_moe_detector.py`. GLM-4.7 writes no line ends between the tags.

    It can't carry a program that holds `</arg_value>` with `</tool_call>` behind it, or the
    beginning of a call: see `markup`.

    Args:
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`.

    Example:
        >>> text = "<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>1 + 1</arg_value>\n"
        >>> text += "</tool_call>"
        >>> [block.code for block in GLMToolCalls().parse(text)]
        ['1 + 1']
    """

    name = "glm"

    def calls(self, text: str) -> Iterator[Call]:
        """Return the calls of a text."""
        return _GLM.calls(text)

    def write(self, code: str) -> str:
        """Write a call."""
        return (
            f"<tool_call>{self.tools[0]}\n<arg_key>{self.arguments[0]}</arg_key>\n"
            f"<arg_value>{between_tags(code)}</arg_value>\n</tool_call>"
        )


class MiniMaxToolCalls(ToolCallFormat):
    r"""`<minimax:tool_call>` with tags (M2), and `<tool_calls>` with a JSON object a line (M1).

    M2 after the chat template of MiniMaxAI/MiniMax-M2 and SGLang's `function_call/minimax_m2.py`,
    M1 after that of MiniMaxAI/MiniMax-M1-80k and vLLM's `vllm/tool_parsers/minimax_tool_parser.py`.
    Both are read, M2's is written.

    It can't carry a program that holds a closing tag of a parameter with that of a call behind it,
    or the beginning of a call: see `markup`.

    Args:
        tools: See `ToolCalls`.
        arguments: See `ToolCalls`.
        unknown_tools: See `ToolCalls`.

    Example:
        >>> text = '<minimax:tool_call>\n<invoke name="python">\n<parameter name="code">1 + 1'
        >>> text += "</parameter>\n</invoke>\n</minimax:tool_call>"
        >>> [block.code for block in MiniMaxToolCalls().parse(text)]
        ['1 + 1']
        >>> text = '<tool_calls>\n{"name": "python", "arguments": {"code": "2"}}\n</tool_calls>'
        >>> [block.code for block in MiniMaxToolCalls().parse(text)]
        ['2']
    """

    name = "minimax"

    def calls(self, text: str) -> list[Call]:
        """Return the calls of a text."""
        return in_order(
            chain(_MINIMAX.calls(text), json_calls(text, "<tool_calls>", "</tool_calls>")),
            lambda call: (call.problem is not None, not call.name),
        )

    def write(self, code: str) -> str:
        """Write a call."""
        return (
            f'<minimax:tool_call>\n<invoke name="{self.tools[0]}">\n'
            f'<parameter name="{self.arguments[0]}">{between_tags(code)}</parameter>\n'
            "</invoke>\n</minimax:tool_call>"
        )


def between_tags(code: str) -> str:
    """Return what stands between two tags for a program, on lines of its own only if it must."""
    return f"\n{code}\n" if code.startswith("\n") or code.endswith("\n") else code
