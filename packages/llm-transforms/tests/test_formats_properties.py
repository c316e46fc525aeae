"""What all code formats promise, on any text and any program."""

# ruff: noqa: RUF001 - DeepSeek's special tokens have full-width bars

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llm_transforms import InvalidArgumentError
from llm_transforms.parsing import (
    CODE_FORMATS,
    CodeBlock,
    CodeFormat,
    DeepSeekToolCalls,
    OpenAIToolCalls,
    TextFormat,
    code_format,
)

# No deadline: the machine is shared. Derandomised: a run can be repeated.
PATIENT = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)

FORMATS: Mapping[str, CodeFormat] = {
    **{name: code_format(name) for name in CODE_FORMATS},
    "deepseek v3": DeepSeekToolCalls("v3"),
    "deepseek v3.2": DeepSeekToolCalls("v3.2"),
}
TEXT_FORMATS = {name: each for name, each in FORMATS.items() if isinstance(each, TextFormat)}
# What any program can be written in, whatever it holds.
CARRY_ALL = ["markdown", "hermes", "kimi", "deepseek", "deepseek v3", "llama3", "harmony"]

DELIMITERS = [
    "<tool_call>",
    "</tool_call>",
    "<function=python>",
    "<function=",
    "</function>",
    "<parameter=code>",
    "</parameter>",
    "<seed:tool_call>",
    "</seed:tool_call>",
    "<minimax:tool_call>",
    "</minimax:tool_call>",
    '<invoke name="python">',
    "</invoke>",
    '<parameter name="code">',
    "<tool_calls>",
    "</tool_calls>",
    "<arg_key>",
    "</arg_key>",
    "<arg_key>code</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "functions.python:0",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
    "<|tool_calls_section_end|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁calls▁end｜>",
    "<｜DSML｜function_calls>",
    '<｜DSML｜invoke name="python">',
    '<｜DSML｜parameter name="code" string="true">',
    "</｜DSML｜parameter>",
    "</｜DSML｜invoke>",
    "<|python_tag|>",
    "<|eom_id|>",
    "<|start|>",
    "<|channel|>",
    "<|message|>",
    "<|call|>",
    "analysis to=python code",
    "assistant",
    "<|constrain|>json",
    "<python>",
    "</python>",
    "<code>",
    "</code>",
    "<think>",
    "</think>",
    "```",
    "```python\n",
    '{"name": "python", "arguments": {"code": "',
    '{"name":',
    '{"code": "',
    '"}}',
    '"}',
]
PIECES = st.sampled_from([*DELIMITERS, *"{}[]\"'\\:,`<>|", "\n", "\r\n", " ", "\t", "print(1)"])
MIXED = st.lists(PIECES | st.text(max_size=3), max_size=14).map("".join)
ANY_CHARACTERS = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
TEXTS = MIXED | st.text() | ANY_CHARACTERS


@pytest.fixture(autouse=True)
def no_process_is_left() -> None:
    """Nothing here starts a process, and to look for one takes longer than most of these tests."""


def blocks_of(format_: CodeFormat, text: str) -> Sequence[CodeBlock]:
    return format_.blocks({"role": "assistant", "content": text})


def newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("name", FORMATS)
@PATIENT
@given(text=TEXTS)
def test_any_text_is_read_and_each_block_lies_within_it(name: str, text: str) -> None:
    last = 0
    for block in blocks_of(FORMATS[name], text):
        assert last <= block.start < block.end <= len(text)
        assert "\r" not in block.code
        assert block.problem is None or block.problem.encode()
        last = block.end


@pytest.mark.parametrize("name", CARRY_ALL)
@PATIENT
@given(code=TEXTS, around=st.sampled_from([("", ""), ("Run this:\n\n", "\n\nThat was it.")]))
@example(code="```python\nprint(1)\n```", around=("", ""))
@example(code="\n\n", around=("", ""))
@example(code='{"name": "python", "parameters": {"code": "1"}}', around=("", ""))
def test_any_program_is_written_and_read_back(
    name: str, code: str, around: tuple[str, str]
) -> None:
    format_ = TEXT_FORMATS[name]
    (block,) = format_.parse(format_.render(code).join(around))
    assert (block.code, block.problem) == (newlines(code), None)


@pytest.mark.parametrize("name", sorted(TEXT_FORMATS.keys() - set(CARRY_ALL)))
@PATIENT
@given(code=TEXTS, around=st.sampled_from([("", ""), ("Run this:\n\n", "\n\nThat was it.")]))
@example(code="```python\nprint(1)\n```", around=("", ""))
@example(code="\n\n", around=("Run this:\n\n", "\n\nThat was it."))
@example(code="print('</tool_call>', '</parameter>', '</arg_value>')", around=("", ""))
def test_what_a_format_with_tags_can_carry_is_read_back_and_else_it_says_so(
    name: str, code: str, around: tuple[str, str]
) -> None:
    format_ = TEXT_FORMATS[name]
    try:
        text = format_.render(code)
    except InvalidArgumentError:
        assert any(delimiter in code for delimiter in DELIMITERS)
        return
    (block,) = format_.parse(text.join(around))
    assert (block.code, block.problem) == (newlines(code), None)


@pytest.mark.parametrize("name", TEXT_FORMATS)
@PATIENT
@given(code=st.text() | MIXED)
def test_auto_reads_what_any_format_writes(name: str, code: str) -> None:
    try:
        text = TEXT_FORMATS[name].render(code)
    except InvalidArgumentError:
        return
    blocks = blocks_of(FORMATS["auto"], f"Run this:\n\n{text}\n\nThat was it.")
    assert [(block.code, block.problem) for block in blocks] == [(newlines(code), None)]


@PATIENT
@given(code=TEXTS)
def test_any_program_is_put_into_a_message_and_read_back(code: str) -> None:
    for format_ in (OpenAIToolCalls(), FORMATS["auto"]):
        (block,) = format_.blocks(OpenAIToolCalls().message(code))
        assert (block.code, block.problem) == (newlines(code), None)


@PATIENT
@given(
    st.dictionaries(
        st.sampled_from(["tool_calls", "function_call", "content"]),
        st.recursive(
            st.none() | st.text(max_size=5) | st.integers(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["id", "function", "custom", "name", "arguments", "input"]),
                    inner,
                )
            ),
        ),
    )
)
def test_any_message_is_read(message: dict[str, Any]) -> None:
    for block in OpenAIToolCalls().blocks(message):
        assert block.problem is None or block.problem.encode()


def repeated(unit: str) -> Callable[[int], str]:
    return lambda n: unit * (n // len(unit))


CHARACTERS = ["`", "{", "[", '"', "\\", "<", "\n", '{"a":', '\\"', "'", "</", "<|", "1"]
UNITS: dict[str, Callable[[int], str]] = {
    **{f"repeated {each!r}": repeated(each) for each in DELIMITERS + CHARACTERS},
    "one string without end": lambda n: '<tool_call>{"name": "' + "x" * n,
    "strings without end": lambda n: '<tool_call>{"a": "b' * (n // 18),
    "strings of two kinds": lambda n: "<tool_call>{'\"" * (n // 14),
    "escapes": lambda n: '<tool_call>{"\\" <tool_call>[" ' * (n // 29),
    "calls that fail late": lambda n: '<tool_call>{"a": [",", ' * (n // 22),
    "many in one pair": lambda n: "<tool_call>" + '{"name": "x"}' * (n // 13),
    "many in one pair, in Python's way": lambda n: "<tool_call>" + "{'a':1}" * (n // 7),
    "many lines in one pair": lambda n: "<tool_calls>" + "{'a':1}\n" * (n // 8),
    "many in one pair, the last broken": lambda n: "<tool_call>" + '{"a": 1}' * (n // 8) + "{",
    "many in a section": lambda n: "<|tool_call_begin|>a<|tool_call_argument_begin|>" * (n // 47),
    "values without end": lambda n: "<tool_call><function=a><parameter=b>" * (n // 36),
    "values that are closed in part": lambda n: (
        "<function=a><parameter=b></parameter>." * (n // 38)
    ),
    "values with closing tags": lambda n: "<function=a><parameter=b>" + "</parameter>." * (n // 13),
    "keys": lambda n: "<tool_call>a<arg_key>b</arg_key><arg_value></arg_value>." * (n // 55),
    "invokes": lambda n: '<invoke name="a">{' * (n // 18),
    "spaces": lambda n: "<tool_call>" + " " * n,
    "tags and spaces": lambda n: "<tool_call> <function=a> </function> " * (n // 37),
    "one name": lambda n: "<tool_call>" + "a" * n,
    "messages": lambda n: "<|channel|>analysis to=python<|message|>" * (n // 40),
    "messages of JSON": lambda n: "<|start|>assistant to=python<|message|>{" * (n // 40),
    "prose": lambda n: "a <python> <tool_call> b " * (n // 25),
    "closed far away": lambda n: "a <python>" * (n // 10) + "</python>",
    "thoughts with calls": lambda n: "<think><tool_call>{</think>\n<python>" * (n // 37),
    "thoughts that go on": lambda n: "<think>" + "<python></think>x" * (n // 17),
    "open and close": lambda n: "<code>\n</code>x" * (n // 15),
}
# Long enough that a square would show, short enough for all of them.
SMALL, LARGE = 8_000, 64_000


def seconds(format_: CodeFormat, text: str) -> float:
    start = time.process_time()
    blocks_of(format_, text)
    return time.process_time() - start


@pytest.mark.parametrize("unit", UNITS)
def test_time_is_linear_in_the_length_of_a_hostile_text(unit: str) -> None:
    # All formats; a format whose time grows with the square would rule their sum.
    format_ = FORMATS["auto"]
    small, large = UNITS[unit](SMALL), UNITS[unit](LARGE)
    # Eight times the text; a square would take sixty-four times as long.
    ratios = []
    for _ in range(4):
        ratios.append(seconds(format_, large) / max(seconds(format_, small), 0.001))
        if ratios[-1] < 24:
            return
    raise AssertionError(ratios)


@pytest.mark.parametrize("name", FORMATS)
def test_a_megabyte_of_delimiters_takes_four_times_as_long_as_a_quarter(name: str) -> None:
    every = "".join(DELIMITERS)
    small, large = repeated(every)(250_000), repeated(every)(1_000_000)
    ratios = []
    for _ in range(4):
        ratios.append(seconds(FORMATS[name], large) / max(seconds(FORMATS[name], small), 0.001))
        if ratios[-1] < 9:  # a square would take sixteen times as long
            return
    raise AssertionError(ratios)
