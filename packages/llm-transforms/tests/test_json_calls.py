"""Tool calls that are JSON: Hermes and Qwen, MiniMax M1, Kimi K2, DeepSeek, Llama 3."""

# ruff: noqa: RUF001 - DeepSeek's special tokens have full-width bars

import json

import pytest

from llm_transforms import InvalidArgumentError
from llm_transforms.parsing import (
    CodeBlock,
    DeepSeekToolCalls,
    HermesToolCalls,
    KimiToolCalls,
    Llama3PythonTag,
    MiniMaxToolCalls,
    TextFormat,
    code_format,
)

CODE = 'for i in range(2):\n\tprint("<\\d>", i)'
CALL = json.dumps({"name": "python", "arguments": {"code": CODE}})


def codes(text: str, format_: TextFormat | None = None) -> list[str]:
    blocks = (format_ or HermesToolCalls()).parse(text)
    assert [block.problem for block in blocks] == [None] * len(blocks)
    return [block.code for block in blocks]


def problem(text: str, format_: TextFormat | None = None) -> str:
    (block,) = (format_ or HermesToolCalls()).parse(text)
    assert block.problem is not None
    return block.problem


def test_hermes_calls_are_read_one_after_the_other() -> None:
    text = f"<think>\nI add.\n</think>\n\n<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n"
    text += '{"name": "code_interpreter", "arguments": {"code": "2"}}\n</tool_call><|im_end|>'
    assert codes(text) == [CODE, "2"]


@pytest.mark.parametrize(
    "payload",
    [
        CALL.replace("\\n", "\n").replace("\\t", "\t"),  # raw line ends and tabs
        CALL[:-1],  # a brace is missing
        CALL[:-2],  # both are
        CALL + "}",  # one too many
        CALL[:-2] + ",},}",  # commas before a brace
        f"```json\n{CALL}\n```",
        f"[{CALL}]",
        json.dumps({"name": "python", "arguments": json.dumps({"code": CODE})}),
        json.dumps({"type": "function", "function": json.loads(CALL)}),
        json.dumps({"arguments": {"source": CODE, "timeout": 5}, "name": "functions.python"}),
        json.dumps({"name": "python", "parameters": {"code": f"```python\n{CODE}\n```"}}),
        repr(json.loads(CALL)),  # Python's way to write it
        CALL.replace("\\\\d", "\\d"),  # an escape that JSON doesn't know
    ],
)
def test_slips_in_json_are_read_as_what_they_mean(payload: str) -> None:
    for end in ("\n</tool_call>", "", "\n</tool_call>\nDone."):
        assert codes(f"<tool_call>\n{payload}{end}") == [CODE]


def test_several_objects_in_one_pair_of_tags_are_several_calls() -> None:
    text = f"<tool_call>\n{CALL}\n{CALL},\n{CALL}\n</tool_call>"
    blocks = HermesToolCalls().parse(text)
    assert [block.code for block in blocks] == [CODE] * 3
    assert [text[block.start] for block in blocks] == ["<", "{", "{"]
    assert blocks[-1].end == len(text)


def test_a_string_may_hold_the_tags() -> None:
    call = json.dumps({"name": "python", "arguments": {"code": "'</tool_call><tool_call>'"}})
    assert codes(f"<tool_call>{call}</tool_call>") == ["'</tool_call><tool_call>'"]


def test_a_broken_call_does_not_take_the_next_one_along() -> None:
    text = '<tool_call>{"name": "python", "arguments": {"code": "print(1)}}</tool_call>\n'
    first, second = HermesToolCalls().parse(f"{text}<tool_call>{CALL}</tool_call>")
    assert "a string begins that never ends at '\"print(1)}}" in str(first.problem)
    assert text[first.start : first.end] == text.strip()
    assert (first.tool, second.code, second.problem) == ("python", CODE, None)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ("print(1)", "The call has no JSON object: it must begin with {."),
        ("", "The call is empty"),
        ('{"name": "python" "arguments": 1}', 'a comma or } is expected at \'"arguments": 1}'),
        ('{"name": "python", "arguments": {code: 1}}', "a key in double quotes is expected at"),
        ('{"name": "python", "arguments": {"code"}}', "a colon is expected after the key at"),
        ('{"name": "python", "arguments": {"code": print(1)}}', "a value is expected at 'print(1)"),
        ('{"arguments": {"code": "1"}}', "The call names no tool. Name one of: python, "),
        ('{"name": "python"}', 'must be an object with the program as "code"'),
        ('{"name": "python", "arguments": "1"}', "The arguments must be an object"),
        ('{"name": "python", "arguments": "{1"}', "The arguments are no JSON: "),
        ('{"name": "python", "arguments": {"x": "1"}}', 'must be the argument "code"; given: x.'),
        ('{"name": "python", "arguments": {}}', "given: none."),
        ('{"name": "python", "arguments": {"code": ["1"]}}', "must be one string with the program"),
        ('{"name": "search", "arguments": {}}', "There is no tool 'search'; there: python, "),
        ('{"name": "Python", "arguments": {"code": "1"}}', "There is no tool 'Python'"),
        ('{"name": ' + "[" * 300, "it is nested too deeply"),
    ],
)
def test_what_is_malformed_is_told_with_a_right_call(payload: str, told: str) -> None:
    message = problem(f"<tool_call>\n{payload}\n</tool_call>")
    assert told in message
    assert codes(message.partition("A right call:\n")[2]) == ["print(1)"]


def test_what_is_cut_off_is_told() -> None:
    assert "never ends" in problem('<tool_call>\n{"name": "python", "arguments": {"code": "print')
    assert "in the middle" in problem('<tool_call>\n{"name": "python", "arguments": ')


def test_nesting_of_any_depth_is_told_and_no_error() -> None:
    for opened in ("[", '{"a":'):
        assert "nested" in problem('<tool_call>{"name": ' + opened * 100_000)


def test_calls_of_other_tools_can_be_left_to_others() -> None:
    format_ = HermesToolCalls(unknown_tools="ignore")
    text = '<tool_call>{"name": "search", "arguments": {"q": 1}}</tool_call>'
    broken = '<tool_call>{"name": "search", "arguments": {"q": x}}</tool_call>'
    assert codes(text + broken + f"<tool_call>{CALL}</tool_call>", format_) == [CODE]


def test_tools_and_arguments_of_ones_own_are_taken_and_written() -> None:
    format_ = HermesToolCalls(tools=["sandbox"], arguments=["cell"])
    text = format_.render("1")
    assert text == '<tool_call>\n{"name": "sandbox", "arguments": {"cell": "1"}}\n</tool_call>'
    assert [(block.code, block.tool) for block in format_.parse(text)] == [("1", "sandbox")]
    assert "there: sandbox." in problem(f"<tool_call>{CALL}</tool_call>", format_)


def test_what_is_chosen_wrongly_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="tools must be a collection of names"):
        HermesToolCalls(tools="python")
    with pytest.raises(InvalidArgumentError, match="arguments must be a collection of names"):
        HermesToolCalls(arguments=[])
    with pytest.raises(InvalidArgumentError, match="unknown_tools must be 'report' or 'ignore'"):
        HermesToolCalls(unknown_tools="drop")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"version must be 'v3', 'v3\.1' or 'v3\.2'"):
        DeepSeekToolCalls("v2")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "I can use the <tool_call> tag for that.",
        "The `<tool_call>` tag begins a call.",
        "Calls stand between <tool_call></tool_call> tags.",
        "Calls look like <tool_call>...</tool_call>.",
    ],
)
def test_a_tag_that_is_spoken_of_is_no_call(text: str) -> None:
    assert codes(text) == []
    assert codes(f"{text}\n<tool_call>\n{CALL}\n</tool_call>") == [CODE]


def test_minimax_m1_has_a_call_a_line() -> None:
    text = f"<think>Hm.</think>\n<tool_calls>\n{CALL}\n{CALL}\n</tool_calls>"
    assert codes(text, MiniMaxToolCalls()) == [CODE, CODE]


KIMI = (
    "I run two.<|tool_calls_section_begin|>"
    "<|tool_call_begin|>functions.python:0<|tool_call_argument_begin|>"
    '{"code": "1"}<|tool_call_end|>'
    "<|tool_call_begin|>functions.python:1<|tool_call_argument_begin|>"
    '{"code": "2"}<|tool_call_end|><|tool_calls_section_end|>'
)


def test_kimi_calls_have_the_identifier_that_the_model_wrote() -> None:
    blocks = KimiToolCalls().parse(KIMI)
    assert [(block.code, block.call_id, block.tool) for block in blocks] == [
        ("1", "functions.python:0", "python"),
        ("2", "functions.python:1", "python"),
    ]
    assert KIMI[blocks[0].start :].startswith("<|tool_call_begin|>functions.python:0")


def test_kimi_calls_that_are_malformed_keep_their_identifier() -> None:
    (block,) = KimiToolCalls().parse(
        "<|tool_call_begin|>functions.python:3<|tool_call_argument_begin|>code<|tool_call_end|>"
    )
    assert block.call_id == "functions.python:3"
    assert "The arguments are no JSON: a value is expected at 'code" in str(block.problem)
    assert "has no <|tool_call_argument_begin|>" in problem(
        "<|tool_call_begin|>functions.python:3<|tool_call_end|>", KimiToolCalls()
    )


DEEPSEEK = [
    (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>python\n```json\n"
        '{"code": "1"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>python\n'
        '```json\n{"code": "2"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>'
    ),
    (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>python<｜tool▁sep｜>"
        '{"code": "1"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>python<｜tool▁sep｜>{"code": "2"}'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
    ),
    (
        '<｜DSML｜function_calls>\n<｜DSML｜invoke name="python">\n'
        '<｜DSML｜parameter name="code" string="true">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        '<｜DSML｜invoke name="python">\n{"code": "2"}\n</｜DSML｜invoke>\n'
        "</｜DSML｜function_calls>"
    ),
    (
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="python">\n'
        '<｜DSML｜parameter name="code" string="true">1</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
        '<｜DSML｜invoke name="python">\n<｜DSML｜parameter name="code" string="true">2'
        "</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
    ),
]


@pytest.mark.parametrize("text", DEEPSEEK, ids=["v3", "v3.1", "v3.2", "v4"])
def test_each_version_of_deepseek_is_read(text: str) -> None:
    assert codes(f"I run two.\n{text}", DeepSeekToolCalls()) == ["1", "2"]


@pytest.mark.parametrize("version", ["v3", "v3.1", "v3.2"])
def test_each_version_of_deepseek_can_be_written(version: str) -> None:
    text = DeepSeekToolCalls(version).render("print(1)")  # type: ignore[arg-type]
    assert DeepSeekToolCalls().parse(text) == DeepSeekToolCalls("v3.2").parse(text)
    assert codes(text, DeepSeekToolCalls()) == ["print(1)"]


@pytest.mark.parametrize("end", ["<|eom_id|>", "<|eot_id|>", ""])
def test_llama_programs_reach_from_the_tag_to_the_end(end: str) -> None:
    text = f"<|python_tag|>import math\nprint(math.pi){end}"
    assert Llama3PythonTag().parse(text) == [
        CodeBlock("import math\nprint(math.pi)", 0, len(text), tool="python")
    ]


@pytest.mark.parametrize("end", ["<|eom_id|>", ""])
def test_llama_writes_a_tag_before_each_program(end: str) -> None:
    assert codes(f"<|python_tag|>a = 1{end}<|python_tag|>a{end}", Llama3PythonTag()) == [
        "a = 1",
        "a",
    ]


def test_llama_calls_are_json_with_the_tag_and_without() -> None:
    call = '{"name": "python", "parameters": {"code": "1"}}'
    for text in (f"<|python_tag|>{call}<|eom_id|>", call, f"{call}; {call}", f"\n{call}"):
        assert set(codes(text, Llama3PythonTag())) == {"1"}
    assert len(codes(f"{call}; {call}", Llama3PythonTag())) == 2


def test_llama_programs_that_look_like_json_are_programs() -> None:
    assert codes('<|python_tag|>{"a": 1}["a"]<|eom_id|>', Llama3PythonTag()) == ['{"a": 1}["a"]']
    assert codes('{"a": 1}', Llama3PythonTag()) == []


def test_llama_calls_of_built_in_tools_and_broken_ones_are_told() -> None:
    text = '<|python_tag|>brave_search.call(query="x")<|eom_id|>'
    assert "There is no tool 'brave_search'" in problem(text, Llama3PythonTag())
    assert codes(text, Llama3PythonTag(unknown_tools="ignore")) == []
    broken = '<|python_tag|>{"name": "python", "parameters": {"code": 1 1}}'
    assert "a comma or } is expected" in problem(broken, Llama3PythonTag())


@pytest.mark.parametrize("choice", ["llama3", "auto"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"name": "python", "parameters": {"code": "print("hi")"}}<|eot_id|>', "a comma or }"),
        ('{"name": "python", "parameters": {"code": "print(1', "a string begins that never ends"),
        ('\n{"arguments": {"code": print(1)}, "name": "python"}', "a value is expected"),
        ('<|begin_of_text|>{"name": "python", "parameters": {"code": 1 1}}', "a comma or }"),
        (
            '{"name": "python", "parameters": {"code": "1"}};{"name": "python", "parameters": {x}}',
            "a key in double quotes",
        ),
    ],
)
def test_llama_calls_without_the_tag_that_are_broken_are_told(
    choice: str, text: str, told: str
) -> None:
    blocks = code_format(choice).blocks({"role": "assistant", "content": text})
    assert [block.problem for block in blocks[:-1]] == [None] * text.count(";")
    message = str(blocks[-1].problem)
    assert told in message
    assert codes(message.partition("A right call:\n")[2], Llama3PythonTag()) == ["print(1)"]


@pytest.mark.parametrize("choice", ["llama3", "auto"])
@pytest.mark.parametrize(
    "text",
    [
        "{the set of all x}",
        '{"name": "Ada", "age": 36',
        '{"parameters": {"a": 1}, 2}',
        '{"a": 1, ' + " " * 1_000 + '"name": "python", "parameters": {x}}',
        'A call is {"name": "python", "parameters": {"code": "print("hi")"}}',
    ],
)
def test_what_is_no_llama_call_is_left_alone(choice: str, text: str) -> None:
    assert code_format(choice).blocks({"role": "assistant", "content": text}) == []


@pytest.mark.parametrize("choice", ["llama3", "auto"])
@pytest.mark.parametrize(
    "lead",
    [
        "<|begin_of_text|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|begin_of_text|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>\n<|start_header_id|>assistant<|end_header_id|>",
    ],
)
def test_special_tokens_before_a_llama_call_are_skipped(choice: str, lead: str) -> None:
    text = f'{lead}{{"name": "python", "parameters": {{"code": "print(1)"}}}}<|eot_id|>'
    (block,) = code_format(choice).blocks({"role": "assistant", "content": text})
    assert (block.code, block.problem, block.start) == ("print(1)", None, len(lead))
