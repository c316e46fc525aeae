"""What the model says in the example: replies of its own, or those of a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_transforms.parsing import MarkdownFences

SYSTEM_PROMPT = "You can run Python: write it in a ```python block, and its output comes back."

QUESTIONS = (
    "A train covers 360 km in 4 h 30 min. What is its average speed?",
    "How many primes are there below 10,000?",
    "Draw a sine wave as text.",
    "What is the median of 3, 9, 4, 8 and 1?",
    "Thank you! What can you do?",
)

# What models write: one program or several, none, some that fail, crash or never end.
REPLIES = r'''
The speed is distance by time.

```python
print(360 / 4.5, 'km/h')
```
---- cut ----
Let me sieve them.

```python
n = 10_000
sieve = bytearray([1]) * n
sieve[:2] = b'\0\0'
for i in range(2, int(n**0.5) + 1):
    if sieve[i]:
        sieve[i * i :: i] = bytes(len(range(i * i, n, i)))
print(sum(sieve))
```
---- cut ----
Here is the plot:

```py
import math
for i in range(12):
    print('*'.rjust(round(20 + 18 * math.sin(i / 2))))
```
---- cut ----
I can explain things, and run Python when you ask me to.
---- cut ----
Two ways:

1. by hand

   ```python
   values = sorted([3, 9, 4, 8, 1])
   print(values[len(values) // 2])
   ```

2. with the library

   ```python
   from statistics import median
   print(median([3, 9, 4, 8, 1]))
   ```
---- cut ----
Average of the scores:

```python
scores = {}
print(sum(scores.values()) / len(scores))
```
---- cut ----
Let me search for the largest one.

```python
n = 1
while True:
    n += 1
```
---- cut ----
I read the number from you:

```python
n = int(input())
print(n * n)
```
---- cut ----
```python
def collatz(n):
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps

best = max(range(1, 3000), key=collatz)
print(best, collatz(best))
```
---- cut ----
First a table:

~~~python3
for a in range(1, 6):
    print(*(f'{a * b:3d}' for b in range(1, 6)))
~~~

and its sum:

```python
print(sum(a * b for a in range(1, 6) for b in range(1, 6)))
```
---- cut ----
I write it as Markdown.

```python
page = """
# Usage
```bash
run it
```
"""
print(len(page.splitlines()), 'lines')
```
---- cut ----
```python
from fractions import Fraction
print(sum(Fraction(1, n) for n in range(1, 11))
```
---- cut ----
No code is needed: the answer is $\boxed{42}$.
---- cut ----
Done, so I stop here.

```python
import sys
print('bye')
sys.exit(2)
```
---- cut ----
How they are spread:

```python
import random
random.seed(1)
bins = [0] * 8
for _ in range(2000):
    bins[min(7, int(random.betavariate(2, 5) * 8))] += 1
for b in bins:
    print(f'{b:4d}', '#' * (b // 20))
```
---- cut ----
```python
import ctypes
ctypes.string_at(0)
```
That reads the first byte of memory.
'''.strip().split("\n---- cut ----\n")


@dataclass(frozen=True)
class Recorded:
    """A reply of a file.

    Attributes:
        question: What was asked, "" if the file doesn't say.
        reply: The assistant's text.
        programs: Its Python blocks.
        outputs: For each of them the output that the reply shows below it, or None.
    """

    question: str
    reply: str
    programs: list[str]
    outputs: list[str | None]


def read_replies(path: Path) -> list[Recorded]:
    """Read a file of JSON objects, one a line, with the field `reply` and perhaps `question`.

    Raises:
        ValueError: A line is no such object.
    """
    replies = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: no JSON ({error})") from error
        if not (isinstance(row, dict) and isinstance(row.get("reply"), str)):
            raise ValueError(  # noqa: TRY004 - the file's fault, not a caller's
                f"{path}, line {number}: no object with a text in the field 'reply'"
            )
        replies.append(_recorded(row))
    if not replies:
        raise ValueError(f"{path} has no replies")
    return replies


def _recorded(row: dict[str, Any]) -> Recorded:
    text = row["reply"]
    programs = MarkdownFences().parse(text)
    outputs: list[str | None] = [None] * len(programs)
    for output in MarkdownFences(["output"]).parse(text):
        above = sum(program.end <= output.start for program in programs)
        if above and outputs[above - 1] is None:
            outputs[above - 1] = output.code
    question = str(row.get("question", ""))
    return Recorded(question, text, [program.code for program in programs], outputs)


def agrees(recorded: str, answer: str) -> bool:
    """Whether a recorded output is what our answer to the block tells.

    White space around them aside, the record must equal all that the program printed; of a program
    that failed, the record has the exception alone, which is the last line of our answer.
    """
    head, _, told = answer.partition("\n")
    if not head.endswith("successfully:"):
        told = told.rstrip().rpartition("\n")[2]
    return recorded.strip() == told.strip()
