"""TorchRL's environments, and a policy that replies what it was told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tensordict import TensorDict
from torchrl.data.llm import History
from torchrl.envs.llm import ChatEnv
from torchrl.envs.llm.transforms import PythonInterpreter as TorchRLPythonInterpreter
from torchrl.modules.llm.policies import ChatHistory

from llm_transforms.torchrl import PythonInterpreter

Shape = tuple[int, ...]

FIELDS = ("role", "content", "is_complete", "tool_calls", "tool_responses")
THEIRS = TorchRLPythonInterpreter
OURS = PythonInterpreter


def fenced(code: str) -> str:
    """A reply that is one program."""
    return f"```python\n{code}\n```"


def laid_out(values: Sequence[Any], shape: Shape) -> list[Any]:
    """Values row by row, as the environments of a batch lie."""
    if len(shape) == 1:
        return list(values)
    row = len(values) // shape[0]
    return [laid_out(values[i * row : (i + 1) * row], shape[1:]) for i in range(shape[0])]


def flat(values: Any, shape: Shape) -> list[Any]:
    """What lies as a batch does, one after the other."""
    for _ in shape[1:]:
        values = [each for row in values for each in row]
    return list(values)


def begin(env: Any, prompts: Sequence[str] | None = None) -> Any:
    """Reset an environment with a prompt for each chat."""
    shape = tuple(env.batch_size)
    count = env.batch_size.numel()
    query = laid_out(prompts or [f"Question {n}." for n in range(count)], shape)
    return env.reset(TensorDict({"query": query}, batch_size=shape))


def with_replies(data: Any, replies: Sequence[str], role: str = "assistant") -> Any:
    """What a policy makes of an environment's data: a message at the end of each chat."""
    shape = tuple(data.batch_size)
    prompt = data["history"].prompt
    reply = History(
        role=laid_out([role] * len(replies), shape),
        content=laid_out(replies, shape),
        batch_size=shape,
    )
    full = prompt.append(reply, inplace=False)
    return data.copy().set("history", ChatHistory(prompt=prompt, full=full))


def play(env: Any, turns: Iterable[Sequence[str]]) -> Iterator[Any]:
    """Begin, reply turn by turn, and give what each step returns."""
    data = begin(env)
    for replies in turns:
        stepped = env.step(with_replies(data, replies))
        data = env.step_mdp(stepped)
        yield stepped


def prompts_after(interpreter: Any, shape: Shape, turns: Iterable[Sequence[str]]) -> list[Any]:
    """Play turns in an environment of its own; the next prompt of each."""
    env = ChatEnv(batch_size=shape, system_prompt="Use Python.").append_transform(interpreter)
    try:
        return [stepped["next", "history"].prompt for stepped in play(env, turns)]
    finally:
        env.close()


def answers_in(prompt: Any) -> list[Any]:
    """What tools answered in the first chat of a batch: texts, or lists of parts."""
    return [each["content"] for each in prompt[0].tolist() if each["role"] == "tool"]


def answers(interpreter: Any, *replies: str) -> list[str]:
    """What one environment's replies are answered, one after the other."""
    (*_, prompt) = prompts_after(interpreter, (1,), [[reply] for reply in replies])
    return answers_in(prompt)


class Ranks:
    """A policy that has programs keep its rank and their environment's number, and print them."""

    in_keys = (("history", "prompt"),)
    out_keys = (("history", "full"),)  # TorchRL's collectors look for them

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._turn = 0

    def __call__(self, data: Any) -> Any:
        """Reply to all chats."""
        count = data.batch_size.numel()
        keep = [fenced(f"rank, n = {self._rank}, {n}") for n in range(count)]
        self._turn += 1
        return with_replies(data, keep if self._turn % 2 else [fenced("print(rank, n)")] * count)


def chats_of_a_rank(count: int, make: Callable[[], PythonInterpreter]) -> Any:
    """An environment as a collector's process makes it: its prompts come with it."""
    loader = [{"query": [f"Question {n}." for n in range(count)]}]
    env = ChatEnv.from_dataloader(loader, batch_size=(count,))
    return env.append_transform(make())
