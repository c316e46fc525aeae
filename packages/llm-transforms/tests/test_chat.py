"""Chats in batches: resetting, stepping, appending transforms."""

from collections.abc import Collection, Sequence
from typing import Any, Self

import numpy as np
import pytest

from llm_transforms import (
    BatchSizeError,
    ChatEnv,
    ClosedError,
    InvalidArgumentError,
    InvalidMessageError,
    Message,
    NotResetError,
    Transform,
    TransformInUseError,
)


class Echo(Transform):
    """Answers each reply with a word of its own, and remembers what was asked of it."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.resets: list[list[int]] = []
        self.seen: list[list[Message | None]] = []
        self.closed = 0

    def step(
        self, chats: Sequence[Sequence[Message]], replies: Sequence[Message | None]
    ) -> list[list[Message]]:
        self.seen.append(list(replies))
        return [[{"role": "tool", "content": self.word}] if reply else [] for reply in replies]

    def clone(self) -> Self:
        return type(self)(self.word)

    def reset(self, environments: Collection[int]) -> None:
        self.resets.append(list(environments))

    def close(self) -> None:
        self.closed += 1


class Failing(Echo):
    def step(
        self, chats: Sequence[Sequence[Message]], replies: Sequence[Message | None]
    ) -> list[list[Message]]:
        raise OSError("no connection")


def test_each_chat_begins_with_the_system_prompt_and_the_users_text() -> None:
    env = ChatEnv(batch_size=(2,), system_prompt="Be brief.")
    assert env.reset(["a", "b"]) == [
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        for text in ("a", "b")
    ]


def test_without_a_system_prompt_there_is_no_system_message() -> None:
    assert ChatEnv(1).reset(["a"]) == [[{"role": "user", "content": "a"}]]


def test_a_chat_that_has_begun_can_be_a_prompt() -> None:
    begun = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    env = ChatEnv(2, system_prompt="s")
    system = {"role": "system", "content": "mine"}
    assert env.reset([begun, [system, *begun]]) == [
        [{"role": "system", "content": "s"}, *begun],
        [system, *begun],
    ]


def test_replies_are_appended_as_assistant_messages() -> None:
    env = ChatEnv(3)
    env.reset(["a", "b", "c"])
    message: Message = {"role": "assistant", "content": None, "tool_calls": []}
    chats = env.step(["x", message, None])
    assert [chat[1:] for chat in chats] == [
        [{"role": "assistant", "content": "x"}],
        [message],
        [],
    ]


def test_factors_of_the_batch_size_are_listed_row_by_row() -> None:
    env = ChatEnv((2, 3))
    assert (len(env), env.batch_size) == (6, (2, 3))
    assert ChatEnv(np.array([2, 3]).prod()).batch_size == (6,)
    chats = env.reset([str(i) for i in range(6)])
    assert [chat[0]["content"] for chat in chats] == ["0", "1", "2", "3", "4", "5"]


def test_what_is_returned_are_copies() -> None:
    env = ChatEnv(1)
    chats = env.reset(["a"])
    chats[0][0]["content"] = "changed"
    chats[0].append({})
    chats.clear()
    assert env.chats == [[{"role": "user", "content": "a"}]]


def test_transforms_answer_in_their_order_and_see_the_replies_alone() -> None:
    first, second = Echo("one"), Echo("two")
    env = ChatEnv(2).append_transform(Echo("zero")).append_transform(first)
    env = env.append_transform(second)
    env.reset(["a", "b"])
    chats = env.step(["x", None])
    assert [message["content"] for message in chats[0]] == ["a", "x", "zero", "one", "two"]
    assert len(chats[1]) == 1
    assert second.seen == [[{"role": "assistant", "content": "x"}, None]]


def test_appending_leaves_the_base_as_it_was() -> None:
    first = Echo("one")
    base = ChatEnv(1).append_transform(first)
    base.reset(["a"])
    derived = base.append_transform(Echo("two"))
    assert base.transforms == (first,)
    assert len(derived.transforms) == 2
    assert derived.transforms[0] is not first
    with pytest.raises(NotResetError):
        derived.step(["x"])
    assert [m["content"] for m in base.step(["x"])[0]] == ["a", "x", "one"]
    with pytest.raises(TransformInUseError):
        ChatEnv(1).append_transform(derived.transforms[0])
    derived.close()
    assert first.closed == 0


def test_a_transform_belongs_to_one_environment() -> None:
    transform = Echo("one")
    ChatEnv(1).append_transform(transform)
    with pytest.raises(TransformInUseError, match="clone"):
        ChatEnv(1).append_transform(transform)
    ChatEnv(1).append_transform(transform.clone())


def test_appending_that_fails_leaves_the_transform_free_and_nothing_open() -> None:
    cloned: list[Echo] = []

    class Unclonable(Echo):
        def clone(self) -> Self:
            if self.word == "bad":
                raise OSError("no connection")
            clone = super().clone()
            cloned.append(clone)
            return clone

    env = ChatEnv(1).append_transform(Unclonable("good"))
    env = env.append_transform(Unclonable("bad"))
    cloned.clear()
    transform = Echo("one")
    with pytest.raises(OSError, match="no connection"):
        env.append_transform(transform)
    assert [clone.closed for clone in cloned] == [1]
    ChatEnv(1).append_transform(transform)


def test_some_environments_can_be_reset_alone() -> None:
    transform = Echo("one")
    env = ChatEnv(3, system_prompt="s").append_transform(transform)
    env.reset(["a", "b", "c"])
    env.step(["x", "x", "x"])
    chats = env.reset(["new", "newer"], environments=[2, 0])
    assert [len(chat) for chat in chats] == [2, 4, 2]
    assert [chat[1]["content"] for chat in chats] == ["newer", "b", "new"]
    assert transform.resets == [[0, 1, 2], [2, 0]]


def test_numbers_of_environments_may_be_those_of_an_array() -> None:
    transform = Echo("one")
    env = ChatEnv(3).append_transform(transform)
    env.reset(["a", "b", "c"])
    done = np.array([True, False, True])
    chats = env.reset(["x", "y"], environments=np.flatnonzero(done))
    assert [chat[0]["content"] for chat in chats] == ["x", "b", "y"]
    assert transform.resets[-1] == [0, 2]
    assert {type(number) for number in transform.resets[-1]} == {int}


@pytest.mark.parametrize(
    "environments", [[3], [-1], [0, 0], ["0", 1], [True, 2], 1, "1", [1.0], np.array([True, False])]
)
def test_environments_that_there_are_not_cannot_be_reset(environments: Any) -> None:
    env = ChatEnv(3)
    env.reset(["a", "b", "c"])
    prompts = ["x"] * (1 if isinstance(environments, int) else len(environments))
    with pytest.raises(InvalidArgumentError, match="environments"):
        env.reset(prompts, environments=environments)


def test_a_wrong_number_of_prompts_or_replies_is_refused_and_changes_nothing() -> None:
    env = ChatEnv(2)
    with pytest.raises(BatchSizeError, match="1 prompts for 2 environments"):
        env.reset(["a"])
    env.reset(["a", "b"])
    with pytest.raises(BatchSizeError, match="3 replies for 2 environments"):
        env.step(["x", "y", "z"])
    assert [len(chat) for chat in env.chats] == [1, 1]


@pytest.mark.parametrize(
    "bad", [3, b"x", {"content": "x"}, {"role": "user", "content": "x"}, ["x"], {"role": 1}]
)
def test_a_reply_that_is_none_is_refused_by_its_number(bad: Any) -> None:
    env = ChatEnv(2)
    env.reset(["a", "b"])
    with pytest.raises(InvalidMessageError, match=r"replies\[1\]"):
        env.step(["x", bad])
    assert [len(chat) for chat in env.chats] == [1, 1]


@pytest.mark.parametrize("bad", [3, None, [], [3], {"role": "user"}, [{"role": "", "content": ""}]])
def test_a_prompt_that_is_none_is_refused_by_its_number(bad: Any) -> None:
    with pytest.raises(InvalidMessageError, match=r"prompts\[0\]"):
        ChatEnv(1).reset([bad])


@pytest.mark.parametrize("bad", ["ab", b"ab", None, {"a": 1, "b": 2}, 2])
def test_what_is_no_list_of_replies_is_refused(bad: Any) -> None:
    env = ChatEnv(2)
    with pytest.raises(InvalidMessageError, match="prompts must be a list of 2"):
        env.reset(bad)
    env.reset(["a", "b"])
    with pytest.raises(InvalidMessageError, match="replies must be a list of 2"):
        env.step(bad)


@pytest.mark.parametrize("size", [0, -1, (), (0,), (2, -1), "12", 1.5, (1.0,), True, None])
def test_a_batch_size_is_a_positive_integer_or_a_tuple_of_them(size: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="batch_size"):
        ChatEnv(size)


def test_a_system_prompt_is_text() -> None:
    with pytest.raises(InvalidArgumentError, match="system_prompt"):
        ChatEnv(1, system_prompt=3)  # type: ignore[arg-type]


def test_only_transforms_are_appended() -> None:
    with pytest.raises(InvalidArgumentError, match="transform"):
        ChatEnv(1).append_transform(print)  # type: ignore[arg-type]


def test_before_a_reset_there_is_nothing_to_step() -> None:
    env = ChatEnv(2)
    with pytest.raises(NotResetError, match="2 environments"):
        env.step(["x", "y"])
    with pytest.raises(NotResetError, match="reset"):
        env.reset(["x"], environments=[1])


def test_chats_are_as_before_when_a_transform_raises() -> None:
    env = ChatEnv(1).append_transform(Echo("one")).append_transform(Failing("x"))
    env.reset(["a"])
    with pytest.raises(OSError, match="no connection"):
        env.step(["x"])
    assert len(env.chats[0]) == 1


class FailingOnce(Echo):
    failed = False

    def step(
        self, chats: Sequence[Sequence[Message]], replies: Sequence[Message | None]
    ) -> list[list[Message]]:
        answers = super().step(chats, replies)
        if not self.failed:
            self.failed = True
            raise OSError("no connection")
        return answers


def make_failing_env() -> tuple[Echo, FailingOnce, ChatEnv]:
    first, second = Echo("one"), FailingOnce("two")
    env = ChatEnv(2).append_transform(first)
    env = env.append_transform(second)
    first = env.transforms[0]  # type: ignore[assignment]
    env.reset(["a", "b"])
    with pytest.raises(OSError, match="no connection"):
        env.step(["x", None])
    return first, second, env


def test_a_step_that_is_tried_again_asks_only_the_transforms_that_had_not_answered() -> None:
    first, second, env = make_failing_env()
    chats = env.step(["x", None])
    assert [message["content"] for message in chats[0]] == ["a", "x", "one", "two"]
    assert len(chats[1]) == 1
    assert (len(first.seen), len(second.seen)) == (1, 2)
    env.step(["x", None])  # said once more, in a turn of its own
    assert (len(first.seen), len(second.seen)) == (2, 3)


def test_another_step_after_one_that_raised_asks_all_transforms() -> None:
    first, _, env = make_failing_env()
    assert [message["content"] for message in env.step(["y", "x"])[1]] == ["b", "x", "one", "two"]
    assert len(first.seen) == 2


def test_a_reset_after_a_step_that_raised_forgets_its_answers() -> None:
    first, _, env = make_failing_env()
    env.reset(["c"], environments=[0])
    assert [message["content"] for message in env.step(["x", None])[0]] == ["c", "x", "one", "two"]
    assert len(first.seen) == 2


def test_closing_closes_the_transforms_once_and_ends_the_environment() -> None:
    transform = Echo("one")
    with ChatEnv(1).append_transform(transform) as env:
        env.reset(["a"])
    env.close()
    assert transform.closed == 1
    with pytest.raises(ClosedError):
        env.reset(["a"])
    with pytest.raises(ClosedError):
        env.step(["a"])
    with pytest.raises(ClosedError):
        env.append_transform(Echo("two"))
    assert "closed" in repr(env)


def test_closing_closes_the_transforms_after_one_that_raises() -> None:
    class Unclosable(Echo):
        def close(self) -> None:
            super().close()
            raise OSError("not now")

    last = Echo("two")
    env = ChatEnv(1).append_transform(Unclosable("one")).append_transform(last)
    with pytest.raises(OSError, match="not now"):
        env.close()
    assert last.closed == 1
    env.close()
