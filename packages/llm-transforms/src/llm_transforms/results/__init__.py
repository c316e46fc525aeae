"""What came of a reply's programs, as messages that the model reads.

A formatter of one's own is any object with a `name` and a `messages(outcomes, role)`; `plain_text`,
`failure_text` and `content_of` are what those here are made of.
"""

from llm_transforms.results.choice import RESULT_FORMATTERS, result_formatter
from llm_transforms.results.code_blocks import CodeBlockResults
from llm_transforms.results.content import content_of, images_of
from llm_transforms.results.enclosed import EnclosedResults, OutputFence, TaggedResults
from llm_transforms.results.failures import failure_text
from llm_transforms.results.limited import limited
from llm_transforms.results.limits import CharacterLimit, OutputLimit, TokenLimit
from llm_transforms.results.openai import OpenAIResults
from llm_transforms.results.outcomes import Outcome, ResultFormatter, rejected
from llm_transforms.results.plain import plain_text

__all__ = [
    "RESULT_FORMATTERS",
    "CharacterLimit",
    "CodeBlockResults",
    "EnclosedResults",
    "OpenAIResults",
    "Outcome",
    "OutputFence",
    "OutputLimit",
    "ResultFormatter",
    "TaggedResults",
    "TokenLimit",
    "content_of",
    "failure_text",
    "images_of",
    "limited",
    "plain_text",
    "rejected",
    "result_formatter",
]
