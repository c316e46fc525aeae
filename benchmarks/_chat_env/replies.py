"""What the model wrote: recorded replies with one program each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

NAME = "tora_gsm8k_replies.jsonl"


class Reply(NamedTuple):
    """One turn of a chat.

    Attributes:
        question: What the user asked.
        text: What the model wrote.
        answer: The tool message that it gets; "" if it holds no program.
    """

    question: str
    text: str
    answer: str = ""

    @property
    def without_code(self) -> Reply:
        """The same text, but for the fence's word, so that nothing in it is to be run."""
        return Reply(self.question, self.text.replace("```python", "```text"))


def replies_in(folder: Path) -> list[Reply]:
    """All replies, their answers not known yet."""
    with (folder / NAME).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [Reply(row["question"], row["reply"]) for row in rows]
