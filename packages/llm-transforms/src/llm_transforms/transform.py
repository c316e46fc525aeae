"""What stands between a model's replies and the chats: the contract of a transform."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Self

from llm_transforms.errors import TransformInUseError
from llm_transforms.lifetime import Closing
from llm_transforms.messages import Message


class Transform(Closing):
    """Answers the replies of a batch of environments with messages.

    A transform belongs to one environment object, since it may hold state for each chat.
    """

    _claimed = False

    @abstractmethod
    def step(
        self, chats: Sequence[Sequence[Message]], replies: Sequence[Message | None]
    ) -> Sequence[Sequence[Message]]:
        """Answer the replies of one turn.

        Args:
            chats: A chat for each environment, its reply and what earlier transforms answered
                included. Not to be changed.
            replies: The assistant message of each environment; None if it sits out this turn.

        Returns:
            For each environment the messages to append to its chat.
        """

    @abstractmethod
    def clone(self) -> Self:
        """Return a transform with the same settings and no state."""

    def claim(self) -> None:
        """Make it belong to an environment; environments call this.

        Raises:
            TransformInUseError: It belongs to one already.
        """
        if self._claimed:
            raise TransformInUseError(self)
        self._claimed = True

    def reset(self, environments: Collection[int]) -> None:
        """Forget what is held for some environments.

        Args:
            environments: Their numbers in the batch.
        """

    def close(self) -> None:
        """Let go of what is held. May be called again."""
