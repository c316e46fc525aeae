"""Which of a reply's blocks run."""

import pytest

from llm_transforms import InvalidArgumentError
from llm_transforms.parsing import CodeBlock, select_blocks

A, B = CodeBlock("a", 0, 1), CodeBlock("b", 2, 3)
CALL_A = CodeBlock("a", 0, 1, call_id="1", tool="python")
CALL_B = CodeBlock("b", 2, 3, call_id="2", tool="python")
BAD = CodeBlock("", 4, 5, problem="bad")
BAD_CALL = CodeBlock("", 4, 5, problem="bad", call_id="3")


def told(blocks: list[CodeBlock]) -> list[tuple[str, str | None, str | None]]:
    return [(block.code, block.call_id, block.problem) for block in blocks]


def test_all_are_run_by_default() -> None:
    assert select_blocks([A, BAD, CALL_B]) == [A, BAD, CALL_B]
    assert select_blocks([]) == []


def test_the_last_is_run_alone_and_calls_before_it_are_answered() -> None:
    assert select_blocks([A, B], "last") == [B]
    assert select_blocks([A, BAD, B], "last") == [BAD, B]
    why = "Not run: only the last program of a reply is run."
    assert told(select_blocks([A, CALL_A, BAD_CALL, CALL_B], "last")) == [
        ("a", "1", why),
        ("", "3", "bad"),
        ("b", "2", None),
    ]


def test_all_are_run_as_one_program_and_each_call_is_answered() -> None:
    assert select_blocks([A, B], "joined") == [CodeBlock("a\nb", 0, 3)]
    assert told(select_blocks([CALL_A, CALL_B], "joined")) == [
        ("a", "1", "Run together with the last program of the reply: see its result."),
        ("a\nb", "2", None),
    ]


def test_nothing_is_run_as_one_program_if_a_part_is_malformed() -> None:
    assert select_blocks([A, BAD, B], "joined") == [BAD]
    why = "Not run: another program of the reply is malformed, and all are run as one."
    assert told(select_blocks([CALL_A, BAD], "joined")) == [("a", "1", why), ("", None, "bad")]


@pytest.mark.parametrize("choice", ["last", "joined"])
def test_a_single_block_stays_as_it_is(choice: str) -> None:
    for block in (A, BAD, CALL_A):
        assert select_blocks([block], choice) == [block]  # type: ignore[arg-type]


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="blocks must be one of 'all', 'last', 'joined'"):
        select_blocks([], "first")  # type: ignore[arg-type]
