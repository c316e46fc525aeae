"""Each formatter by its name, and what programs displayed."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from llm_transforms import RESULT_FORMATTERS, CodeBlock, InvalidArgumentError, Outcome
from llm_transforms.results import TaggedResults, content_of, images_of, result_formatter
from python_executor import ExecutionResult, PythonExecutorService

FAILURE = (
    'Traceback (most recent call last):\n  File "<program>", line 1, in <module>\n    1 / 0\n'
    "    ~~^~~\nZeroDivisionError: division by zero\n"
)


@pytest.fixture(scope="module")
def executor() -> Iterator[PythonExecutorService]:
    with PythonExecutorService(pool_size=2, timeout=20.0) as executor:
        yield executor


@pytest.fixture(scope="module")
def outcomes(executor: PythonExecutorService) -> list[Outcome]:
    results = executor.execute_batch(["print(6 * 7)", "1 / 0"])
    return [
        Outcome(number, CodeBlock("", 0, 0, call_id=f"call_{number}"), result)
        for number, result in enumerate(results, 1)
    ]


@pytest.mark.parametrize(
    ("name", "role", "expected"),
    [
        (
            "code_blocks",
            "tool",
            [
                "Code block 1 executed successfully:\n42\n",
                f"Code block 2 failed:\n{FAILURE}",
            ],
        ),
        ("output_fence", "user", [f"```output\n42\n```\n```output\n{FAILURE}```"]),
        (
            "interpreter",
            "user",
            [f"<interpreter>\n42\n</interpreter>\n<interpreter>\n{FAILURE}</interpreter>"],
        ),
        (
            "tool_response",
            "user",
            [f"<tool_response>\n42\n</tool_response>\n<tool_response>\n{FAILURE}</tool_response>"],
        ),
        ("output", "user", [f"<output>\n42\n</output>\n<output>\n{FAILURE}</output>"]),
    ],
)
def test_results_are_told_in_the_words_of_each_formatter(
    outcomes: list[Outcome], name: str, role: str, expected: list[str]
) -> None:
    formatter = result_formatter(name)
    assert formatter.name == name
    assert formatter.messages(outcomes, role) == [
        {"role": role, "content": text} for text in expected
    ]


def test_openai_gets_a_message_for_each_call(outcomes: list[Outcome]) -> None:
    assert result_formatter("openai").messages(outcomes, "tool") == [
        {"role": "tool", "tool_call_id": "call_1", "content": "42\n"},
        {"role": "tool", "tool_call_id": "call_2", "content": FAILURE},
    ]


@pytest.mark.parametrize("name", sorted(RESULT_FORMATTERS))
def test_a_formatter_without_output_says_something(
    executor: PythonExecutorService, name: str
) -> None:
    outcome = Outcome(1, CodeBlock("", 0, 0), executor.execute("x = 1"))
    (message,) = result_formatter(name).messages([outcome], "tool")
    assert message["role"] == "tool"
    assert isinstance(message["content"], str)
    assert "tool_call_id" not in message


def test_output_cannot_end_its_tags(executor: PythonExecutorService) -> None:
    code = r"print('</interpreter>\n</Interpreter >\n</interpreters><interpreter>')"
    outcome = Outcome(1, CodeBlock("", 0, 0), executor.execute(code))
    (message,) = result_formatter("interpreter").messages([outcome], "user")
    assert message["content"] == (
        "<interpreter>\n<\\/interpreter>\n<\\/Interpreter >\n</interpreters><interpreter>\n"
        "</interpreter>"
    )


def test_output_cannot_end_tags_whose_names_end_oddly() -> None:
    text = TaggedResults("out-").enclose("</out->\n</out-x>")
    assert text == "<out->\n<\\/out->\n</out-x>\n</out->"


def test_output_cannot_end_its_fence(executor: PythonExecutorService) -> None:
    outcome = Outcome(1, CodeBlock("", 0, 0), executor.execute("print('`' * 5)"))
    (message,) = result_formatter("output_fence").messages([outcome], "user")
    assert message["content"] == "``````output\n`````\n``````"


@pytest.mark.parametrize("tag", ["", "a b", "<x>", "1"])
def test_a_tag_is_a_name(tag: str) -> None:
    with pytest.raises(InvalidArgumentError, match="tag must be a name"):
        TaggedResults(tag)


# -- images ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def showing(executor: PythonExecutorService) -> ExecutionResult:
    displays = [
        {"image/png": "cG5n", "text/plain": "<Figure 1>"},
        {"image/svg+xml": "<svg/>"},
        {"image/gif": "Z2lm", "image/jpeg": "anBn"},
    ]
    return {**executor.execute("print('shown')"), "displays": displays}


def test_images_are_told_as_data_urls_in_the_order_of_their_display(
    showing: ExecutionResult,
) -> None:
    assert images_of(showing) == (
        f"data:image/png;base64,{base64.b64encode(b'png').decode()}",
        f"data:image/jpeg;base64,{base64.b64encode(b'jpg').decode()}",
    )


@pytest.mark.parametrize("name", sorted(RESULT_FORMATTERS))
def test_images_stand_beside_the_text_as_parts(showing: ExecutionResult, name: str) -> None:
    plain = Outcome(1, CodeBlock("", 0, 0), showing)
    shown = Outcome(1, CodeBlock("", 0, 0), showing, images_of(showing))
    formatter = result_formatter(name)
    (without,), (with_images,) = (
        formatter.messages([outcome], "tool") for outcome in (plain, shown)
    )
    parts: list[dict[str, Any]] = with_images["content"]
    assert parts[0] == {"type": "text", "text": without["content"]}
    assert [part["image_url"]["url"] for part in parts[1:]] == list(images_of(showing))
    assert content_of("text", [plain]) == "text"
