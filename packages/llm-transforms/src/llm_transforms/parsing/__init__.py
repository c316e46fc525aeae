"""Programs in the replies of a model: the blocks, the formats that find them, and which run.

Useful without the rest: `MarkdownFences().parse(text)` returns the blocks of a text, and
`code_format("auto")` finds what is written in any format. A format of one's own is any object with
a `name` and a `blocks(message)`; for one that reads text there is `TextFormat`, and for one whose
models call tools `ToolCallFormat`.
"""

from llm_transforms.parsing.any_of import AnyOf
from llm_transforms.parsing.blocks import CodeBlock, CodeFormat, TextFormat
from llm_transforms.parsing.calls import (
    CODE_ARGUMENTS,
    PYTHON_TOOLS,
    Call,
    ToolCallFormat,
    ToolCalls,
)
from llm_transforms.parsing.choice import CODE_FORMATS, FormatChoice, code_format
from llm_transforms.parsing.deepseek import DeepSeekToolCalls
from llm_transforms.parsing.harmony import HarmonyToolCalls
from llm_transforms.parsing.json_tags import HermesToolCalls
from llm_transforms.parsing.llama import Llama3PythonTag
from llm_transforms.parsing.markdown import PYTHON, MarkdownFences
from llm_transforms.parsing.markers import KimiToolCalls
from llm_transforms.parsing.openai import OpenAIToolCalls
from llm_transforms.parsing.selection import Selection, select_blocks
from llm_transforms.parsing.tags import TaggedCode
from llm_transforms.parsing.xml_calls import (
    GLMToolCalls,
    MiniMaxToolCalls,
    Qwen3CoderToolCalls,
    SeedToolCalls,
)

__all__ = [
    "CODE_ARGUMENTS",
    "CODE_FORMATS",
    "PYTHON",
    "PYTHON_TOOLS",
    "AnyOf",
    "Call",
    "CodeBlock",
    "CodeFormat",
    "DeepSeekToolCalls",
    "FormatChoice",
    "GLMToolCalls",
    "HarmonyToolCalls",
    "HermesToolCalls",
    "KimiToolCalls",
    "Llama3PythonTag",
    "MarkdownFences",
    "MiniMaxToolCalls",
    "OpenAIToolCalls",
    "Qwen3CoderToolCalls",
    "SeedToolCalls",
    "Selection",
    "TaggedCode",
    "TextFormat",
    "ToolCallFormat",
    "ToolCalls",
    "code_format",
    "select_blocks",
]
