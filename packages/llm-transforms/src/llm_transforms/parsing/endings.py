"""Special tokens at the end of a text, where decoding has kept them."""

from __future__ import annotations

import re

# <|im_end|> and its like, DeepSeek's with wide bars, and those of Seed, MiniMax, Gemma and Llama 2.
# None of them can end a Python program.
_TOKEN = re.compile(
    r"(?:<\|[\w.-]{1,40}\|>|<\uff5c[^<>\uff5c\s]{1,40}\uff5c>|<seed:eos>|<end_of_turn>|<eos>|</s>|\[e~\[)\Z"
)
# Characters of the longest one.
_LONGEST = 50


def without_end_tokens(text: str) -> str:
    r"""Return a text that nothing closes without the special tokens at its end.

    Example:
        >>> without_end_tokens("print(1)\n<|im_end|>\n")
        'print(1)'
    """
    kept = text
    while True:
        stripped = kept.rstrip()
        token = _TOKEN.search(stripped, max(0, len(stripped) - _LONGEST))
        if token is None:
            return text if kept is text else stripped
        kept = stripped[: token.start()]
