"""Programs in the replies of a model: the blocks, and the formats that find them.

Useful without the rest: `MarkdownFences().parse(text)` returns the blocks of a text. A format of
one's own is any object with a `name` and a `blocks(message)`.
"""

from llm_transforms.parsing.blocks import CodeBlock, CodeFormat, TextFormat
from llm_transforms.parsing.choice import CODE_FORMATS, code_format
from llm_transforms.parsing.markdown import PYTHON, MarkdownFences

__all__ = [
    "CODE_FORMATS",
    "PYTHON",
    "CodeBlock",
    "CodeFormat",
    "MarkdownFences",
    "TextFormat",
    "code_format",
]
