"""TorchRL's chats: its environment, with its interpreter or with ours.

By name, because type checks run where it isn't installed.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from _chat_env.ours import NAMESPACE, POOL_SIZE, TIMEOUT
from _chat_env.replies import Reply

_NAMESPACE = f"{NAMESPACE}-torchrl"
_SERVICE = "python_executor"


def why_not_ours_there() -> str | None:
    """What is missing for our transform in TorchRL's environment, if anything is."""
    if importlib.util.find_spec("llm_transforms.torchrl") is None:
        return "ours in TorchRL's ChatEnv: this llm-transforms has no such transform"
    return None


def start_service() -> None:
    """Register TorchRL's pool on the Ray that runs, and wait until it executes."""
    # Its environments want lists of texts to be stacks.
    importlib.import_module("tensordict").set_list_to_stack(mode=True).set()
    tools: Any = importlib.import_module("torchrl.envs.llm.transforms")
    services: Any = importlib.import_module("torchrl.services")
    registry = services.get_services(backend="ray", namespace=_NAMESPACE)
    actor = registry.register(
        _SERVICE,
        tools.PythonExecutorService,
        pool_size=POOL_SIZE,
        timeout=TIMEOUT,
        num_cpus=0,
        max_concurrency=POOL_SIZE,
    )
    ray: Any = importlib.import_module("ray")
    assert ray.get(actor.execute.remote("print(1 + 1)"))["stdout"] == "2\n"


def their_interpreter() -> Any:
    """TorchRL's own transform, on its service."""
    tools: Any = importlib.import_module("torchrl.envs.llm.transforms")
    return tools.PythonInterpreter(services="ray", namespace=_NAMESPACE)


def our_interpreter(**options: Any) -> Any:
    """Our transform for TorchRL's environment."""
    return importlib.import_module("llm_transforms.torchrl").PythonInterpreter(**options)


class TorchRLChats:
    """TorchRL's environment. What its policy does, to put replies into the data, is not timed.

    Args:
        transform: What answers.
        replies: One for each environment.
    """

    def __init__(self, transform: Any, replies: Sequence[Reply]) -> None:
        tensordict: Any = importlib.import_module("tensordict")
        history: Any = importlib.import_module("torchrl.data.llm").History
        env: Any = importlib.import_module("torchrl.envs.llm").ChatEnv
        shape = (len(replies),)
        self._env = env(batch_size=shape, input_mode="history").append_transform(transform)
        self._prompts = tensordict.TensorDict(
            query=[each.question for each in replies], batch_size=shape
        )
        stack = tensordict.lazy_stack
        self._replies = stack(
            [stack([history(role="assistant", content=each.text)]) for each in replies]
        )
        self._data: Any = None
        self._after: Any = None

    def begin(self) -> None:
        """Begin chats anew, and write the replies into them."""
        data = self._env.reset(self._prompts.clone())
        data["history"].full = data["history"].prompt.extend(self._replies, inplace=False, dim=-1)
        self._data = data

    def step(self) -> None:
        """Play the replies; this is timed."""
        self._after = self._env.step(self._data)

    def answers(self) -> list[str]:
        """What the last step answered."""
        last = self._after["next", "history"].prompt[..., -1]
        return [
            content if role == "tool" else ""
            for role, content in zip(last.role, last.content, strict=True)
        ]

    def end(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Close the environment."""
        self._env.close()
