"""What came of a reply's programs, as messages that the model reads.

A formatter of one's own is any object with a `name` and a `messages(outcomes, role)`.
"""

from llm_transforms.results.choice import RESULT_FORMATTERS, result_formatter
from llm_transforms.results.code_blocks import CodeBlockResults
from llm_transforms.results.outcomes import Outcome, ResultFormatter, rejected

__all__ = [
    "RESULT_FORMATTERS",
    "CodeBlockResults",
    "Outcome",
    "ResultFormatter",
    "rejected",
    "result_formatter",
]
