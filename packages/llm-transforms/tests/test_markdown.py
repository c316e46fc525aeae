"""What counts as a program in a Markdown reply."""

import pytest

from llm_transforms import InvalidArgumentError
from llm_transforms.parsing import MarkdownFences


def codes(text: str, *, bare: bool = False, strict: bool = False) -> list[str]:
    return [block.code for block in MarkdownFences(bare=bare, strict=strict).parse(text)]


@pytest.mark.parametrize("language", ["python", "py", "python3", "Python", "PY"])
def test_each_way_to_name_python_counts(language: str) -> None:
    assert codes(f"Run:\n```{language}\nprint(1)\n```\nDone.") == ["print(1)"]


@pytest.mark.parametrize(
    "info",
    [
        "python title=x",
        "python, editable",
        "python:main.py",
        "python {.numberLines}",
        "python{1,3}",
        "{.python .numberLines}",
        "{python}",
        " python ",
        "python\ttitle",
    ],
)
def test_attributes_after_the_language_are_overlooked(info: str) -> None:
    assert codes(f"```{info}\nprint(1)\n```") == ["print(1)"]


@pytest.mark.parametrize("info", ["pycon", "python-repl", "ipython", "json", "output", "text", ""])
def test_other_languages_and_none_do_not_count(info: str) -> None:
    assert codes(f"```{info}\nprint(1)\n```") == []


def test_blocks_without_a_language_count_if_asked_for() -> None:
    text = "```\nprint(1)\n```\n```output\n1\n```\n```python\nprint(2)\n```"
    assert codes(text, bare=True) == ["print(1)", "print(2)"]


def test_several_blocks_come_in_their_order() -> None:
    text = "```python\na\n```\nthen\n~~~py\nb\n~~~\n```json\n{}\n```\n```python3\nc\n```"
    assert codes(text) == ["a", "b", "c"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_is_read_and_becomes_a_newline(end: str) -> None:
    assert codes(end.join(["```python", "a = 1", "", "b = 2", "```", "text"])) == ["a = 1\n\nb = 2"]


def test_other_separators_of_lines_stay_in_the_code() -> None:
    assert codes("```python\ns = 'a\u2028b\x0bc'\n```") == ["s = 'a\u2028b\x0bc'"]


def test_a_fence_that_is_never_closed_reaches_to_the_end() -> None:
    assert codes("```python\nprint(1)\nprint(2)") == ["print(1)\nprint(2)"]
    assert codes("```python") == [""]


def test_an_empty_block_is_a_block() -> None:
    assert codes("```python\n```") == [""]


def test_a_longer_fence_holds_shorter_ones() -> None:
    assert codes("````python\ns = '''\n```\n'''\n````") == ["s = '''\n```\n'''"]
    assert codes("~~~python\n```\n~~~") == ["```"]


def test_a_fence_is_closed_by_one_that_is_as_long_or_longer() -> None:
    assert codes("```python\na\n`````\n```python\nb\n```") == ["a", "b"]
    assert codes("````python\na\n```") == ["a\n```"]


def test_a_fence_with_text_behind_does_not_close() -> None:
    assert codes("```python\na\n``` no\n```") == ["a\n``` no"]
    assert codes("```python\na\n```` no\n```") == ["a\n```` no"]
    assert codes("```python\na\n``` no\n", strict=True) == ["a\n``` no"]


THEN = "\n\nThen:\n```python\nb\n```\ntext"


@pytest.mark.parametrize("end", ["```", "``` ", "````", "```<|im_end|>", "``` That is all."])
@pytest.mark.parametrize("code", ["print(1)", 's = """\n```"""', "print('it's')", "if a:\n    b"])
def test_a_fence_behind_code_ends_the_block(code: str, end: str) -> None:
    assert codes(f"```python\n{code}{end}{THEN}") == [code, "b"]
    assert codes(f"```python\r\nprint(1){end}") == ["print(1)"]
    assert codes(f"> ```python\n> print(1){end}\n\nSo.") == ["print(1)"]


@pytest.mark.parametrize(
    "code",
    [
        "x = '```'",
        'x = """```\n"""',
        "x = 1  # the fence is ```",
        "x = 'a\\\n``` b'",
        'x = """\n``` b\n"""',
        "x = re.findall(r'```python\\n(.*?)```', y)",
        'x = f"""\n{a} ```"""',
    ],
)
def test_backticks_in_strings_and_comments_end_no_block(code: str) -> None:
    assert codes(f"```python\n{code}\ny\n```{THEN}") == [f"{code}\ny", "b"]


def test_a_fence_behind_code_says_where_the_block_ends() -> None:
    text = "- ```python\n  a = 1\n  print(a)```  \n\nSo."
    (block,) = MarkdownFences().parse(text)
    assert (block.code, text[block.end :]) == ("a = 1\nprint(a)", "  \n\nSo.")


def test_a_closing_fence_may_be_indented_too_far() -> None:
    assert codes(f"1. First:\n```python\na\n    ```{THEN}") == ["a", "b"]


@pytest.mark.parametrize("words", [" This prints 1.", " It calls `f`.", " text"])
def test_a_closing_fence_may_have_words_behind_if_nothing_else_closes(words: str) -> None:
    assert codes(f"```python\na\n```{words}{THEN}") == ["a", "b"]
    assert codes(f"```python\na\n```{words}") == ["a"]


def test_a_block_ends_where_the_next_one_begins() -> None:
    assert codes(f"```python\na\n```output\n1\n```{THEN}") == ["a", "b"]
    assert codes("```python\na\n```python\nb\n```") == ["a", "b"]
    assert codes("```python\na\n``` python\nb\n```") == ["a", "b"]
    assert codes("```python\na\n```python\nb\n```", strict=True) == ["a\n```python\nb"]


@pytest.mark.parametrize(
    "words",
    ["Here: ", "Here is it:", "- Code: ", "**Code** ", "> Code: ", "## Code ", "Use ```x```: "],
)
def test_a_fence_may_open_behind_words(words: str) -> None:
    before = "> " * words.startswith(">")
    text = f"So.\n{words}```python\n{before}if a:\n{before}    b\n{before}```\nDone.{THEN}"
    first, second = MarkdownFences().parse(text)
    assert (first.code, second.code) == ("if a:\n    b", "b")
    assert text[first.start :].startswith("```python\n")
    assert codes(text.replace("\n", "\r\n")) == ["if a:\n    b", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "Begin with ```python\nand end with ```.",
        "Begin with ```python\nand go on.",
        "Begin with ```python",
        "Begin with ```python\n\nAnd so on.\n\n```\nx\n```",
        "Begin with `` ```python ``\nand\n```\nx\n```",
        "Write ```a ```python\nand\n```\nx\n```",
        "Begin with ```json\n{}\n```\n",
    ],
)
def test_a_fence_that_is_spoken_of_opens_nothing(text: str) -> None:
    assert codes(text) == []
    assert codes(f"{text}{THEN}") == ([] if "json" in text else ["b"])


def test_a_thought_ends_a_block_that_it_never_closed() -> None:
    for open_ in ("```python\na", "```text\na", "```python\nprint('it's')"):
        for think in ("<think>\n", ""):
            assert codes(f"{think}Hm.\n{open_}\n</think>{THEN}") == ["b"]
            assert codes(f"{think}Hm.\n{open_}</think>{THEN}") == ["b"]
    assert codes(f"<think>\n```python\na\n```</think>{THEN}") == ["a", "b"]
    assert codes("<think>\nHm.\n</think>```python\na\n") == ["a"]
    assert codes(f"```text\n<think>\nHm.\n</think>\n```{THEN}") == ["b"]
    assert codes(f"```python\ns = '''\n</think>\n'''\n```{THEN}") == ["s = '''\n</think>\n'''", "b"]


def test_indentation_of_the_fence_is_taken_from_its_lines() -> None:
    assert codes("   ```python\n   if a:\n       b\n   ```") == ["if a:\n    b"]


def test_lists_and_quotes_around_a_fence_are_taken_off() -> None:
    assert codes("1. First:\n\n   ```python\n   if a:\n       b\n   ```\n2. Then") == [
        "if a:\n    b"
    ]
    assert codes("- x\n  - y\n\n    ```python\n    a\n    ```") == ["a"]
    assert codes("> Try:\n> ```python\n> a\n>\n> b\n> ```\n> Done") == ["a\n\nb"]
    assert codes("- ```python\n  a\n  ```") == ["a"]


def test_a_block_ends_with_the_quote_that_it_stands_in() -> None:
    assert codes("> ```python\n> a\nb") == ["a"]


def test_tabs_count_as_columns_up_to_the_next_multiple_of_four() -> None:
    assert codes("-\t```python\n\tif a:\n\t\tb\n\t```") == ["if a:\n\tb"]


def test_code_that_is_indented_less_than_its_fence_keeps_its_indentation() -> None:
    text = "1. First:\n   ```python\nif a:\n  b\n```\ntext"
    assert codes(text) == ["if a:\n  b"]
    assert codes("  ```python\nif a:\n  b\n  ```") == ["if a:\n  b"]
    assert codes("1. x\n   ```python\n  if a:\n\n    b\n   ```") == ["if a:\n\n  b"]


def test_a_fence_with_a_language_counts_at_any_indentation() -> None:
    text = "Here:\n     ```python\n     print(1)\n     ```"
    assert codes(text) == ["print(1)"]
    assert codes(text, strict=True) == []


def test_special_tokens_and_tags_may_stick_to_a_fence() -> None:
    assert codes("```python\na\n```<|im_end|>\n") == ["a"]
    assert codes("```python\na\n```</s>") == ["a"]
    assert codes("<think>hm</think>\n</x>```python\na\n```") == ["a"]
    assert codes("```python\na\n```<|im_end|>", strict=True) == ["a\n```<|im_end|>"]


def test_a_block_that_nothing_closes_keeps_its_blanks_unless_a_special_token_ends_it() -> None:
    assert codes("```python\na\n  ") == ["a\n  "]
    assert codes("```python\na\n  <|im_end|>") == ["a"]


def test_tags_on_lines_of_their_own_do_not_hide_a_fence() -> None:
    assert codes("<answer>\n```python\na\n```\n</answer>") == ["a"]


NESTED = 's = """\n# Title\n```bash\nls\n```\n```\nplain\n```\n"""\nprint(s)'


def test_fences_in_pairs_inside_a_string_do_not_end_the_block() -> None:
    assert codes(f"```python\n{NESTED}\n```\ntext") == [NESTED]
    assert codes(f"```python\n{NESTED}\n```\n```python\n{NESTED}\n```") == [NESTED, NESTED]


def test_a_string_that_is_never_closed_does_not_take_the_next_block_along() -> None:
    text = '```python\ns = """oops\n```\nThen:\n```python\nt = """fine"""\n```'
    assert codes(text) == ['s = """oops', 't = """fine"""']


def test_quotes_in_comments_and_strings_open_no_string() -> None:
    code = "a = 1  # don't write '''\nb = \"'''\" + '\\'' + '\"\"\"'"
    assert codes(f"```python\n{code}\n```\ntext\n```\nother '''\n```") == [code]


def test_inline_code_is_no_block() -> None:
    assert codes("Use ```python print(1)``` or `x`.") == []


def test_a_block_says_where_it_stands_and_what_its_fence_said() -> None:
    text = "Run:\r\n```Python title=x\r\nprint(1)\r\n```\r\nDone"
    (block,) = MarkdownFences().parse(text)
    assert text[block.start : block.end] == "```Python title=x\r\nprint(1)\r\n```"
    assert (block.language, block.info) == ("python", "Python title=x")
    assert (block.problem, block.call_id) == (None, None)


def test_a_message_in_parts_is_read_too() -> None:
    parts = [{"type": "text", "text": "Run:"}, {"type": "text", "text": "```python\na\n```"}]
    blocks = MarkdownFences().blocks({"role": "assistant", "content": parts})
    assert [block.code for block in blocks] == ["a"]
    assert MarkdownFences().blocks({"role": "assistant", "content": None}) == []


def test_languages_of_ones_own_are_taken_and_rendered() -> None:
    fences = MarkdownFences(["Bash", "sh"])
    assert [block.code for block in fences.parse("```bash\nls\n```\n```python\na\n```")] == ["ls"]
    assert fences.render("ls") == "```bash\nls\n```"


def test_languages_must_be_a_collection_of_strings() -> None:
    with pytest.raises(InvalidArgumentError, match="languages must be a collection"):
        MarkdownFences("python")
