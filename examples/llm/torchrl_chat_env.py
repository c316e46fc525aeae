"""TorchRL's ChatEnv, and our interpreters behind it.

    python examples/llm/torchrl_chat_env.py
    python examples/llm/torchrl_chat_env.py --backend ray
    python examples/llm/torchrl_chat_env.py --batch 4 32 --turns 3

The environment and its histories are TorchRL's; its Python tool is replaced by
`llm_transforms.torchrl.PythonInterpreter`. The pool of interpreters is a service that all
environments share, in which each has a session: what a program defines is there in the next turn.
The policy is a script in place of a model: it adds up numbers, turn by turn, and writes its replies
where a model's would stand. Needs `llm-transforms[local,torchrl]`, and rich.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from tensordict import TensorDict
from torchrl.data.llm import History
from torchrl.envs.llm import ChatEnv
from torchrl.modules.llm.policies import ChatHistory

from llm_transforms.torchrl import PythonInterpreter
from python_executor import PythonExecutorService
from services_core import get_services

PROGRAMS = (
    "total = {number}\nprint(f'I begin with {{total}}.')",
    "total += {number}\nprint(f'That makes {{total}}.')",
)


def laid_out(value: Callable[[int], Any], shape: tuple[int, ...], first: int = 0) -> list[Any]:
    """A value for each environment, by its number, nested as the batch is."""
    if len(shape) == 1:
        return [value(first + number) for number in range(shape[0])]
    row = math.prod(shape[1:])
    return [laid_out(value, shape[1:], first + i * row) for i in range(shape[0])]


def scripted_policy(data: Any, turn: int) -> Any:
    """Reply to all chats, as a model would: ("history", "full") is the prompt and the reply."""
    shape = tuple(data.batch_size)
    program = PROGRAMS[min(turn, 1)]

    def reply(number: int) -> str:
        return f"I use Python.\n```python\n{program.format(number=number)}\n```"

    prompt = data["history"].prompt
    replies = History(
        role=laid_out(lambda _: "assistant", shape),
        content=laid_out(reply, shape),
        batch_size=shape,
    )
    full = prompt.append(replies, inplace=False)
    return data.set("history", ChatHistory(prompt=prompt, full=full))


def play(env: Any, turns: int, console: Console) -> Any:
    """Play turns in all environments; return the chats at the end."""
    shape = tuple(env.batch_size)
    query = laid_out(lambda number: f"Add {number} to itself, again and again.", shape)
    data = env.reset(TensorDict({"query": query}, batch_size=shape))
    for turn in range(turns):
        start = time.perf_counter()
        data = env.step_mdp(env.step(scripted_policy(data, turn)))
        console.print(f"Turn {turn + 1}: {time.perf_counter() - start:.2f} s")
    return data["history"].prompt


def main(arguments: list[str] | None = None) -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="local", help="where the service lives: local or ray")
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 8], help="the batch's shape")
    parser.add_argument("--turns", type=int, default=3, help="turns of each chat")
    options = parser.parse_args(arguments)
    shape = tuple(options.batch)
    count = math.prod(shape)
    console = Console()

    with get_services(options.backend, "torchrl-example") as services:
        executor = services.register(
            "python_executor", PythonExecutorService, pool_size=4, max_sessions=count
        )
        env = ChatEnv(batch_size=shape, system_prompt="Use Python.").append_transform(
            PythonInterpreter(services=services, persistent=True)
        )
        chats = play(env, options.turns, console)
        sessions = len(executor.list_sessions())
        console.print(f"{count} environments, {sessions} sessions on 4 interpreters")
        for message in chats.reshape(count, chats.batch_size[-1])[count - 1].tolist():
            console.rule(message["role"], align="left")
            console.print(message["content"], markup=False)
        env.close()


if __name__ == "__main__":
    main()
