"""Which replies are played, and what a step of them takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from _timing import Block

from _chat_env.replies import Reply

# Environments of a step that takes the peer some seconds; so many replies are tried at once.
FEW = 128
# Seconds between steps, and more for each environment: less than a model takes for its replies. Who
# has something to do off the path has done it: spare processes are there, sessions are copied.
_PAUSE, _PAUSE_EACH = 0.1, 0.002


class Chats(Protocol):
    """A batch of chats whose turn can be timed."""

    def begin(self) -> None:
        """Begin anew, up to what is timed."""

    def step(self) -> None:
        """Play the replies; this is timed."""

    def answers(self) -> Sequence[str]:
        """The tool message of each environment in the last step, "" for none."""

    def end(self) -> None:
        """Let go of what would disturb others."""

    def close(self) -> None:
        """Close all that belongs to them."""


OpenChats = Callable[[Sequence[Reply]], Chats]
"""Opens chats that will play these replies."""


class Agreed(NamedTuple):
    """Replies that take part, and how many were left out.

    Attributes:
        replies: With their answers.
        failed: Those whose programs fail, with us.
        differing: Those whose programs succeed with us, which another one answers otherwise.
    """

    replies: list[Reply]
    failed: int
    differing: int


def agree(sides: Mapping[str, OpenChats], candidates: Sequence[Reply], count: int) -> Agreed:
    """Play replies on all sides until there are enough that all answer alike.

    Args:
        sides: Ours first.
        candidates: To choose from.
        count: So many are enough.
    """
    agreed: list[Reply] = []
    failed = differing = 0
    for first in range(0, len(candidates), FEW):
        batch = candidates[first : first + FEW]
        answers = [_answers_of(opens(batch)) for opens in sides.values()]
        for reply, ours, *theirs in zip(batch, *answers, strict=True):
            if not ours.startswith("Code block 1 executed successfully:"):
                failed += 1
            elif any(each != ours for each in theirs):
                differing += 1
            else:
                agreed.append(reply._replace(answer=ours))
        if len(agreed) >= count:
            break
    return Agreed(agreed[:count], failed, differing)


def _answers_of(chats: Chats) -> Sequence[str]:
    try:
        chats.begin()
        chats.step()
        return chats.answers()
    finally:
        chats.close()


class Tally:
    """Plays chats and compares their answers; what must be equal is asserted.

    Args:
        replies: What they play, the answers included.
    """

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._expected = [each.answer for each in replies]
        self.played = 0
        self.differing = 0

    def block(self, chats: Chats, count: int, *, strict: bool = True) -> Block:
        """Steps of freshly begun chats.

        Args:
            chats: Who plays.
            count: How many steps are a contestant's share of a round.
            strict: Whether an answer other than expected is an error, or counted.
        """

        def play() -> list[float]:
            return [self._timed(chats, strict=strict) for _ in range(count)]

        return play

    def _timed(self, chats: Chats, *, strict: bool) -> float:
        chats.begin()
        time.sleep(_PAUSE + _PAUSE_EACH * len(self._expected))
        start = time.perf_counter()
        chats.step()
        seconds = time.perf_counter() - start
        wrong = [
            (told, expected)
            for told, expected in zip(chats.answers(), self._expected, strict=True)
            if told != expected
        ]
        chats.end()
        if strict:
            assert not wrong, wrong[:3]
        else:
            self.played += len(self._expected)
            self.differing += len(wrong)
        return seconds
