"""Programs between two tags."""

import pytest

from llm_transforms import InvalidArgumentError
from llm_transforms.parsing import CodeBlock, TaggedCode, code_format


def codes(text: str, name: str = "python_tags") -> list[str]:
    blocks = code_format(name).blocks({"role": "assistant", "content": text})
    assert all(block.problem is None for block in blocks)
    return [block.code for block in blocks]


def test_a_program_stands_between_the_tags_on_lines_of_their_own_or_within_one() -> None:
    assert codes("Run:\n<python>\nif a:\n    b\n</python>\nDone.") == ["if a:\n    b"]
    assert codes("So <python>print(1)</python> and <python> print(2) </python>.") == [
        "print(1)",
        "print(2) ",
    ]
    assert codes("Thought: add.\n<code>\nfinal_answer(2)\n</code>", "code_tags") == [
        "final_answer(2)"
    ]


def test_a_program_that_is_never_closed_reaches_to_the_end() -> None:
    assert codes("<python>\nprint(1)\n") == ["print(1)"]
    assert codes("So: <python>print(1)") == ["print(1)"]


def test_line_ends_become_newlines_and_one_at_each_tag_belongs_to_it() -> None:
    assert codes("<python>\r\n\r\na\r\nb\r\n</python>") == ["\na\nb"]


@pytest.mark.parametrize("fence", ["```python", "```py", "```", "~~~python"])
def test_one_fence_around_the_program_is_taken_off(fence: str) -> None:
    assert codes(f"<python>\n{fence}\nprint(1)\n{fence[:3]}\n</python>") == ["print(1)"]


@pytest.mark.parametrize(
    "text",
    [
        "Programs go into `<python>` tags.",
        'Programs go into "<python>" tags.',
        "I write <python> before a program.",
        "I write <python></python> or <python>...</python> around it.",
        "I write <python> and </python> around it.",
    ],
)
def test_a_tag_that_is_spoken_of_opens_nothing(text: str) -> None:
    assert codes(text) == []
    assert codes(text, "auto") == []
    assert codes(f"{text}\n<python>\nprint(1)\n</python>") == ["print(1)"]


def test_the_code_of_html_within_a_line_is_no_program_in_auto() -> None:
    assert codes("Use <code>print</code> here.\n<code>print</code> prints.", "auto") == []
    assert codes("<code>\nprint(1)\n</code>", "auto") == ["print(1)"]
    assert codes("<code>print(1)</code>", "auto") == ["print(1)"]


def test_a_block_says_where_it_stands_and_names_its_language() -> None:
    text = "Run:\n<python>\nprint(1)\n</python>\n"
    assert TaggedCode("python").parse(text) == [CodeBlock("print(1)", 5, 32, "python")]
    assert TaggedCode("run").parse("<run>a</run>") == [CodeBlock("a", 0, 12)]


def test_a_program_with_the_closing_tag_cannot_be_carried() -> None:
    with pytest.raises(InvalidArgumentError, match="without the delimiters of the format python"):
        TaggedCode("python").render("print('</python>')")


@pytest.mark.parametrize("tag", ["", "a b", "<x>", "1"])
def test_a_tag_has_a_name(tag: str) -> None:
    with pytest.raises(InvalidArgumentError, match="tag must be the name of a tag"):
        TaggedCode(tag)
