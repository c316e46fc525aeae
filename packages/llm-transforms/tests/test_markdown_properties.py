"""The Markdown parser against CommonMark's reference behaviour, and on any text at all."""

import re
import time
from collections.abc import Callable

import commonmark  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llm_transforms.parsing import MarkdownFences

# No deadline: the machine is shared. Derandomised: a run can be repeated.
PATIENT = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=200
)

PREFIXES = [
    "> ",
    ">",
    "- ",
    "-",
    "1. ",
    "2) ",
    "10. ",
    "-\t",
    "+   ",
    *(" " * n for n in range(1, 5)),
    "\t",
]
BEHIND = ["a```", "a ```python", "</think>", "<think>"]
FENCES = ["```", "````", "```python", "~~~", "~~~ py", "``` x`y", "```  "]
TEXTS = ["text", "# h", "---", "===", "***", "", "", "print(1)"]
LINES = st.tuples(
    st.lists(st.sampled_from(PREFIXES), max_size=4).map("".join),
    st.sampled_from([*FENCES, *TEXTS]),
).map("".join)
DOCUMENTS = st.lists(LINES, max_size=10).map("\n".join)
LENIENT = st.lists(LINES | st.sampled_from(BEHIND), max_size=10).map("\n".join)
HOSTILE = st.text(alphabet="`~ \t\n\r>-1.'\"#\\<|>{}py\0\ud800é", max_size=200)


def without_blanks(code: str) -> str:
    """Empty the lines of white space alone: the reference implementations differ in them."""
    return re.sub(r"(?m)^[ \t]+$", "", code)


@settings(PATIENT, max_examples=500)
@given(DOCUMENTS)
@example("- > ```\n\n  x")
@example("-\n\n  ```\n  x")
@example("> a\n```\nb")
@example("- a\n\n      ```\n      b")
def test_in_strict_mode_blocks_are_what_commonmark_says(text: str) -> None:
    # No generated text has HTML blocks, the one thing that the two see differently.
    nodes = [node for node, _ in commonmark.Parser().parse(text).walker()]
    fences = [node for node in nodes if node.t == "code_block" and node.is_fenced]
    blocks = MarkdownFences(bare=True, strict=True).parse(text)
    assert [(block.info, without_blanks(block.code)) for block in blocks] == [
        (fence.info.strip(), without_blanks(fence.literal.removesuffix("\n")))
        for fence in fences
        if fence.info.strip() in ("", "python", "py")
    ]


@PATIENT
@given(DOCUMENTS | LENIENT | HOSTILE | st.text())
def test_any_text_is_read_and_each_block_lies_within_it(text: str) -> None:
    for fences in (MarkdownFences(), MarkdownFences(bare=True), MarkdownFences(strict=True)):
        last = 0
        for block in fences.parse(text):
            assert last <= block.start <= block.end <= len(text)
            last = block.end


@PATIENT
@given(st.text() | HOSTILE | DOCUMENTS | LENIENT, st.booleans())
def test_what_is_rendered_is_read_back(code: str, strict: bool) -> None:
    fences = MarkdownFences(strict=strict)
    text = f"Run this:\n\n{fences.render(code)}\n\nThat was it."
    (block,) = fences.parse(text)
    assert block.code == code.replace("\r\n", "\n").replace("\r", "\n")


UNITS: dict[str, Callable[[int], str]] = {
    "backticks": lambda n: "`" * n,
    "backticks and an end": lambda n: "`" * n + "\n" + "`" * n + " x",
    "fences": lambda n: "```\n" * (n // 4),
    "python fences": lambda n: "```python\n" * (n // 10),
    "open strings": lambda n: '```python\n"""\n```\n' * (n // 18),
    "escaped strings": lambda n: '```python\n\\"""\n```\n' * (n // 19),
    "bare strings": lambda n: '```\n\\"""\n' * (n // 9) + "```js",
    "one open string": lambda n: '```python\n"""\n' + "```\n```\n" * (n // 8),
    "quotes": lambda n: "```python\n" + '"' * n,
    "backslashes": lambda n: '```python\n"""' + "\\" * n,
    "block quotes": lambda n: "> " * (n // 2) + "\n" + "\n" * (n // 2),
    "lists": lambda n: "- " * (n // 2) + "x\n" + "\n" * (n // 2),
    "nested lists": lambda n: "- " * 40 + "\n" + "  \n" * (n // 3),
    "dashes": lambda n: "- " * (n // 2) + "x",
    "tags": lambda n: "<" * n + "```python",
    "closed tags": lambda n: "<a>" * (n // 3) + "x",
    "tags behind": lambda n: "```python\n```" + "<a>" * (n // 3) + "x",
    "spaces": lambda n: "-" + " " * n + "x",
    "tabs": lambda n: "\t" * n + "```python",
    "fences behind code": lambda n: "```python\na```\n" * (n // 15),
    "fences that are none": lambda n: "```python\n" + "'```' ```x\n" * (n // 12),
    "fences that stick to code": lambda n: "```python\n" + "'```" * (n // 4),
    "fences behind words": lambda n: "a ```python\nb\n" * (n // 14),
    "ever longer fences behind words": lambda n: "".join(
        f"a {'`' * (k + 3)}python\nb\n" for k in range(int((2 * n) ** 0.5))
    ),
    "ever shorter fences behind words": lambda n: "".join(
        f"a {'`' * (k + 3)}python\nb\n" for k in reversed(range(int((2 * n) ** 0.5)))
    ),
    "closing fences and words": lambda n: "```python\n" + "``` a\n```\n" * (n // 10),
    "runs and words": lambda n: "a ```python" + "``` ``` " * (n // 8),
    "thoughts": lambda n: "<think>\n```python\n</think>\n" * (n // 27),
    "ends of thoughts": lambda n: "```python\n" + "</think>\n" * (n // 9),
    "info": lambda n: "```python " + "{" * n,
}


def seconds(text: str) -> float:
    fences = MarkdownFences(bare=True)
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        fences.parse(text)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("unit", UNITS)
def test_time_is_linear_in_the_length_of_a_hostile_text(unit: str) -> None:
    make = UNITS[unit]
    # Four times the text in at most ten times the time: a square would take sixteen.
    small, large = seconds(make(20_000)), seconds(make(80_000))
    assert large < 10 * max(small, 0.002)
