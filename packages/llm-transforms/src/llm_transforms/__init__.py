"""Chat environments whose code blocks run: parsing of replies, PythonInterpreter and ChatEnv.

Start with `ChatEnv`, a batch of chats, and append a `PythonInterpreter` to it. `parsing` finds
programs in replies and is useful alone; `results` turns what came of them into messages.
`PythonTool` is for trainers that call functions; `openai`, `trl`, `verifiers` and `mcp` adapt it.
"""

from llm_transforms.chat import ChatEnv
from llm_transforms.errors import (
    BatchSizeError,
    ClosedError,
    HistoryNeededError,
    InvalidArgumentError,
    InvalidMessageError,
    MissingExtraError,
    NotAnExecutorError,
    NotResetError,
    TransformError,
    TransformInUseError,
    UnknownNameError,
)
from llm_transforms.interpreter import PythonInterpreter
from llm_transforms.messages import Message
from llm_transforms.parsing import (
    CODE_FORMATS,
    AnyOf,
    CodeBlock,
    CodeFormat,
    MarkdownFences,
    TaggedCode,
    TextFormat,
    ToolCallFormat,
    code_format,
    select_blocks,
)
from llm_transforms.results import (
    RESULT_FORMATTERS,
    CodeBlockResults,
    Outcome,
    ResultFormatter,
    result_formatter,
)
from llm_transforms.tool import PythonTool
from llm_transforms.transform import Transform

__all__ = [
    "CODE_FORMATS",
    "RESULT_FORMATTERS",
    "AnyOf",
    "BatchSizeError",
    "ChatEnv",
    "ClosedError",
    "CodeBlock",
    "CodeBlockResults",
    "CodeFormat",
    "HistoryNeededError",
    "InvalidArgumentError",
    "InvalidMessageError",
    "MarkdownFences",
    "Message",
    "MissingExtraError",
    "NotAnExecutorError",
    "NotResetError",
    "Outcome",
    "PythonInterpreter",
    "PythonTool",
    "ResultFormatter",
    "TaggedCode",
    "TextFormat",
    "ToolCallFormat",
    "Transform",
    "TransformError",
    "TransformInUseError",
    "UnknownNameError",
    "code_format",
    "result_formatter",
    "select_blocks",
]
