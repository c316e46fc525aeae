"""The transform: TorchRL's tensordicts on one side, our `PythonInterpreter` on the other.

TransformedEnv.step  --> _step   --> replies_of  --> llm_transforms.PythonInterpreter.step
                                 <-- with_answers <-- one call for the whole batch
TransformedEnv.reset --> _reset  --> its reset, of the environments in the mask
"""

from __future__ import annotations

from typing import Any, Self

from tensordict import TensorDictBase
from torchrl.envs import Transform

import llm_transforms
from llm_transforms.errors import ClosedError, HistoryNeededError
from llm_transforms.lifetime import shown_as_call
from llm_transforms.torchrl.histories import replies_of, with_answers
from services_core import ServiceBase

_ASSISTANT = "assistant"


class PythonInterpreter(Transform):
    r"""Executes the Python blocks of the policy's replies in a TorchRL `ChatEnv`.

    Its environment needs `input_mode="history"`. The last message of each chat in `("history",
    "full")` is what the policy wrote; what its programs printed is put at the end of `("next",
    "history", "prompt")`. The programs of a step are one call, whatever the shape of the batch.
    Environments are numbered row by row.

    The first arguments are those of TorchRL's own transform. All others are those of
    `llm_transforms.PythonInterpreter`, which says where programs run and what `persistent` means.

    What TorchRL clones or pickles (transforms, environments for the processes of collectors) has
    names, processes and sessions of its own, from its first step. `env.close()` ends those of an
    environment.

    Args:
        tokenizer: Counts the tokens of answers, if their length is limited in tokens.
        tool_name: Role of the answers.
        persistent: Whether names last from one program of an environment to the next.
        timeout: Seconds that one program may run.
        services: Name of a backend ("local", "ray", ...), or an open registry. None runs programs
            without a service.
        service_name: Name of the executor among the services.
        namespace: Namespace of a backend's services, "services" if None.
        **options: Further arguments of `llm_transforms.PythonInterpreter`.

    Raises:
        TransformError: An argument can't be used; see `llm_transforms.PythonInterpreter`.
        ServiceError: The service, or its backend, isn't there.

    Example::

        from tensordict import TensorDict
        from torchrl.envs.llm import ChatEnv

        env = ChatEnv(batch_size=(4, 32)).append_transform(PythonInterpreter(services="local"))
        data = env.reset(TensorDict(query=prompts, batch_size=(4, 32)))
        data = env.step(policy(data))  # the policy writes ("history", "full")
        data["next", "history"].prompt.content  # ..., 'Code block 1 executed successfully:\n42\n'
        env.close()
    """

    def __init__(
        self,
        tokenizer: Any = None,  # of transformers, or whatever else counts
        tool_name: str = "tool",
        persistent: bool = False,  # noqa: FBT001, FBT002 - TorchRL's signature
        timeout: float = 10.0,
        services: str | ServiceBase | None = None,
        service_name: str = "python_executor",
        namespace: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._settings: dict[str, Any] = {
            "tokenizer": tokenizer,
            "tool_name": tool_name,
            "persistent": persistent,
            "timeout": timeout,
            "services": services,
            "service_name": service_name,
            "namespace": namespace,
            **options,
        }
        self._closed = False
        # Made here, so that what is wrong shows here. Clones have none before their first step:
        # TorchRL makes some that are never stepped or closed, to answer for `Transform.parent`.
        self._interpreter: llm_transforms.PythonInterpreter | None = None
        self._opened()

    def clone(self) -> Self:
        """Return a transform with the same settings, which shares no state with this one."""
        clone: Self = super().clone()
        clone._interpreter = None
        clone._closed = False
        return clone

    def close(self) -> None:
        """End the processes and sessions that belong to this transform; a service runs on."""
        self._closed = True
        if self._interpreter is not None:
            self._interpreter.close()

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        """Run the programs of the replies, and put the answers at the end of the next prompt."""
        history = tensordict.get("history", None)
        following = next_tensordict.get("history", None)
        if following is None or history is None or history.full is None:
            raise HistoryNeededError(self._env_attribute("input_mode"))
        replies = replies_of(history.full, {_ASSISTANT, self._env_attribute("policy_role")})
        # Environments that sit out, as those of a rollout that are done.
        stepped = tensordict.get("_step", None)
        if stepped is not None:
            flags = stepped.reshape(-1).tolist()
            replies = [reply if flag else None for reply, flag in zip(replies, flags, strict=True)]
        interpreter = self._opened()
        self._mark_as_open()
        answers = interpreter.step([()] * len(replies), replies)
        if any(answers):
            following.prompt = with_answers(following.prompt, answers)
        return next_tensordict

    def _reset(
        self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase
    ) -> TensorDictBase:
        """Forget the names of the environments that are reset."""
        if self._interpreter is not None:
            mask = tensordict.get("_reset", None)
            count = tensordict_reset.batch_size.numel()
            flags = [True] * count if mask is None else mask.reshape(-1).tolist()
            self._interpreter.reset([number for number in range(count) if flags[number]])
        return tensordict_reset

    def _opened(self) -> llm_transforms.PythonInterpreter:
        if self._closed:
            raise ClosedError(self)
        if self._interpreter is None:
            self._interpreter = llm_transforms.PythonInterpreter(**self._settings)
        return self._interpreter

    def _mark_as_open(self) -> None:
        """Have collectors close the environment: a `ChatEnv` calls itself closed from the start."""
        env = self.container
        if env is not None and env.is_closed:
            env.is_closed = False

    def _env_attribute(self, name: str) -> Any:  # typed by whichever environment it is
        # Not through `parent`, for which TorchRL clones all transforms before this one.
        return getattr(self.container, name, None)

    def __getstate__(self) -> dict[str, Any]:
        # Processes, sessions and connections stay here: what is unpickled opens its own.
        return {**super().__getstate__(), "_interpreter": None, "_closed": False}

    def __repr__(self) -> str:
        return shown_as_call(type(self), self._settings, llm_transforms.PythonInterpreter)
