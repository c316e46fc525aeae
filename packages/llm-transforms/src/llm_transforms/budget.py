"""How many programs of an environment may run, in a turn and in an episode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sized

from llm_transforms.errors import check_count


class CallBudget:
    """Counts the programs of each environment, from reset to reset.

    Args:
        per_turn: Programs of one reply that may run; None for any number.
        per_episode: Programs of one environment that may run before it is reset; None for any.

    Attributes:
        spent: Programs that each environment has run.

    Raises:
        InvalidArgumentError: One of them is no positive integer.
    """

    def __init__(self, per_turn: int | None, per_episode: int | None) -> None:
        self._per_turn = _checked("max_calls_per_turn", per_turn)
        self._per_episode = _checked("max_calls_per_episode", per_episode)
        self.spent: Counter[int] = Counter()

    def refusal(self, environment: int, running: int) -> str | None:
        """Tell why one more program of a reply may not run, in words for the model.

        Args:
            environment: Its number.
            running: Programs of the same reply that run already.
        """
        if self._per_turn is not None and running >= self._per_turn:
            return f"Not run: {_at_most(self._per_turn)} of a reply. Send it in the next one."
        if self._per_episode is not None and self.spent[environment] + running >= self._per_episode:
            return f"Not run: {_at_most(self._per_episode)} of a chat, and they have been."
        return None

    def spend(self, programs: Mapping[int, Sized]) -> None:
        """Count the programs that ran."""
        for environment, each in programs.items():
            self.spent[environment] += len(each)

    def reset(self, environments: Collection[int]) -> None:
        """Begin anew for some environments."""
        for environment in environments:
            self.spent.pop(environment, None)


def _at_most(count: int) -> str:
    return (
        "no more than 1 program is run" if count == 1 else f"no more than {count} programs are run"
    )


def _checked(parameter: str, value: int | None) -> int | None:
    return None if value is None else check_count(parameter, value)
