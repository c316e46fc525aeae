"""The adapter for TorchRL as a transform: reset, clone, pickle, close, and what it needs."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torchrl.data.llm import History
from torchrl.envs import Compose, TransformedEnv
from torchrl.envs.llm import ChatEnv
from torchrl.modules.llm.policies import Text, Tokens
from torchrl_chats import OURS, Shape, answers_in, begin, fenced, flat, laid_out, with_replies

from llm_transforms import Message, Outcome
from llm_transforms.errors import ClosedError, HistoryNeededError, InvalidArgumentError
from python_executor import PythonExecutorService
from services_core import ServiceBase, ServiceNotFoundError, get_services

DONE = "Code block 1 executed successfully:\n"


@pytest.fixture(scope="module")
def services(backend: str) -> Iterator[ServiceBase]:
    """A registry with an executor, for all of these tests."""
    with get_services(backend=backend, namespace="transforms") as opened:
        opened.register(
            "python_executor", PythonExecutorService, pool_size=2, timeout=30.0, max_concurrency=4
        )
        yield opened


@pytest.fixture
def ours(services: ServiceBase) -> Iterator[dict[str, Any]]:
    """Arguments of our transform, with sessions on that executor; none may be left."""
    yield {"services": services, "persistent": True, "timeout": 30.0}
    assert sessions(services) == 0


def sessions(services: ServiceBase) -> int:
    """How many sessions there are."""
    return len(services["python_executor"].list_sessions())


def keep(env: Any) -> Any:
    """Have each environment keep its number, and return the data of the next turn."""
    count = env.batch_size.numel()
    replies = [fenced(f"n = {number}") for number in range(count)]
    return env.step_mdp(env.step(with_replies(begin(env), replies)))


def told(env: Any, data: Any) -> list[str]:
    """What the environments print of their numbers; "?" for those that have forgotten."""
    count = env.batch_size.numel()
    stepped = env.step(with_replies(data, [fenced("print(n)")] * count))
    last = flat(stepped["next", "history"].prompt[..., -1].content, tuple(env.batch_size))
    return ["?" if "NameError" in each else each.removeprefix(DONE).strip() for each in last]


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
@pytest.mark.parametrize("trailing", [(), (1,)])
def test_a_reset_of_some_environments_ends_their_sessions_alone(
    ours: dict[str, Any], services: ServiceBase, shape: Shape, trailing: Shape
) -> None:
    env = ChatEnv(batch_size=shape).append_transform(OURS(**ours))
    data = keep(env)
    assert sessions(services) == 4
    mask = torch.tensor([False, True, True, False]).reshape(*shape, *trailing)
    query = laid_out(["Anew."] * 4, shape)
    asked = TensorDict({"_reset": mask, "query": query}, batch_size=shape)
    # The transform's own: for chats of different lengths TorchRL can't merge the rest.
    assert env.transform._reset(asked, data) is data
    assert sessions(services) == 2
    assert told(env, data) == ["0", "?", "?", "3"]
    env.close()
    assert sessions(services) == 0


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_an_environments_reset_takes_its_mask_to_the_processes(shape: Shape) -> None:
    env = ChatEnv(batch_size=shape).append_transform(OURS(persistent=True))
    asked = begin(env)
    keep(env)
    asked["_reset"] = torch.tensor([True, False, False, True]).reshape(*shape, 1)
    asked["query"] = laid_out(["Anew."] * 4, shape)
    data = env.reset(asked)
    assert flat(data["history"].prompt[..., -1].content, shape)[0::3] == ["Anew."] * 2
    assert told(env, data) == ["?", "1", "2", "?"]
    assert told(env, begin(env)) == ["?"] * 4  # without a mask all are reset
    env.close()


def test_environments_that_sit_out_a_step_run_nothing(ours: dict[str, Any]) -> None:
    env = ChatEnv(batch_size=(3,)).append_transform(OURS(**ours))
    data = with_replies(begin(env), [fenced("print(1)")] * 3)
    data["_step"] = torch.tensor([[True], [False], [True]])
    prompt = env.step(data)["next", "history"].prompt
    assert prompt[..., -1].role == ["tool", "<none>", "tool"]
    env.close()


def test_clones_and_copies_have_sessions_of_their_own(
    ours: dict[str, Any], services: ServiceBase
) -> None:
    env = ChatEnv(batch_size=(2,)).append_transform(OURS(**ours))
    data = keep(env)
    interpreter = env.transform
    transforms = [interpreter.clone(), pickle.loads(pickle.dumps(OURS(**ours)))]
    others = [ChatEnv(batch_size=(2,)).append_transform(each) for each in transforms]
    others += [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]
    assert sessions(services) == 2  # those of copies begin with their first programs
    for other in others:
        assert told(other, begin(other)) == ["?", "?"]
    assert told(env, data) == ["0", "1"]
    assert sessions(services) == 10
    for other in others:
        other.close()
    assert told(env, data) == ["0", "1"]
    env.close()
    assert sessions(services) == 0


def test_what_torchrl_clones_by_itself_shares_nothing(ours: dict[str, Any]) -> None:
    inner = ChatEnv(batch_size=(2,)).append_transform(OURS(**ours))
    keep(inner)
    outer = TransformedEnv(inner, Compose(), auto_unwrap=True)
    assert outer.transform[0] is not inner.transform
    assert told(outer, begin(outer)) == ["?", "?"]
    # TorchRL clones the first transform for it.
    second = OURS(**ours)
    both = inner.append_transform(second)
    assert second.parent is not None
    assert told(both, keep(both)) == ["0", "1"]
    both.close()
    outer.close()


def test_an_environment_is_open_from_its_first_step_to_its_close(ours: dict[str, Any]) -> None:
    env = ChatEnv(batch_size=(1,)).append_transform(OURS(**ours))
    assert env.is_closed  # as TorchRL has it, whose collectors wouldn't close it
    keep(env)
    assert not env.is_closed
    env.close()
    assert env.is_closed


def test_a_closed_environment_leaves_nothing_and_runs_nothing(
    ours: dict[str, Any], services: ServiceBase
) -> None:
    env = ChatEnv(batch_size=(2,)).append_transform(OURS(**ours))
    data = keep(env)
    env.close()
    assert sessions(services) == 0
    with pytest.raises(ClosedError, match="PythonInterpreter"):
        env.step(with_replies(data, [fenced("print(1)")] * 2))
    unused = env.transform.clone()
    unused.close()  # never opened
    with pytest.raises(ClosedError):
        ChatEnv(batch_size=(1,)).append_transform(unused).step(
            with_replies(begin(ChatEnv(batch_size=(1,))), ["No."])
        )


class Letters:
    """As much of a tokenizer as the environment asks for: a token for each letter."""

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any:
        """All contents, one after the other; as tokens if asked for."""
        text = "".join(message["content"] for message in conversation)
        if not options.get("tokenize"):
            return text
        return {"input_ids": torch.tensor([[ord(letter) for letter in text]])}


@pytest.mark.parametrize("mode", ["text", "tokens"])
def test_without_messages_the_first_step_says_what_to_do(ours: dict[str, Any], mode: str) -> None:
    env = ChatEnv(batch_size=(1,), input_mode=mode, tokenizer=Letters())
    env = env.append_transform(OURS(**ours))
    data = begin(env)
    if mode == "text":
        data["text"] = Text(full=[fenced("print(1)")], batch_size=(1,))
    else:
        data["tokens"] = Tokens(full=torch.tensor([[1, 2]]), batch_size=(1,))
    with pytest.raises(HistoryNeededError, match=f"input_mode='{mode}'.*input_mode='history'"):
        env.step(data)
    env.close()


def test_a_policy_that_writes_no_history_is_told_so(ours: dict[str, Any]) -> None:
    env = ChatEnv(batch_size=(1,)).append_transform(OURS(**ours))
    with pytest.raises(HistoryNeededError, match="has input_mode='history'"):
        env.step(begin(env))
    env.close()


def test_every_option_of_our_interpreter_is_passed_on(ours: dict[str, Any]) -> None:
    interpreter = OURS(
        None, "python", code_format="markdown", results="output", max_calls_per_episode=1, **ours
    )
    env = ChatEnv(batch_size=(1,)).append_transform(interpreter)
    stepped = env.step(with_replies(begin(env), [fenced("print(1)\n") + "\n" + fenced("2")]))
    messages = stepped["next", "history"].prompt[0].tolist()
    assert "python" in [message["role"] for message in messages]
    env.close()
    with pytest.raises(InvalidArgumentError, match="tool_name"):
        OURS(tool_name="", **ours)
    with pytest.raises(ServiceNotFoundError, match="nothing"):
        OURS(service_name="nothing", **ours)
    with pytest.raises(TypeError, match="no_such_option"):
        OURS(no_such_option=1)


def test_it_shows_what_it_was_given() -> None:
    shown = "PythonInterpreter(persistent=True, timeout=5.0)"
    assert repr(OURS(persistent=True, timeout=5.0)) == shown


def test_the_package_alone_imports_no_torch() -> None:
    found = "import llm_transforms, sys; print(sorted({'torch', 'torchrl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", found], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    # Here it would be found, were it looked for.
    assert History.__module__ == "torchrl.data.llm.history"


class Parts:
    """Answers in parts, as those with images are."""

    name = "parts"

    def messages(self, outcomes: Sequence[Outcome], role: str) -> list[Message]:
        """One message with two parts for each block."""
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,ZG90"}}
        return [
            {"role": role, "content": [{"type": "text", "text": each.result["stdout"]}, image]}
            for each in outcomes
        ]


def test_an_answer_in_parts_is_one_message(ours: dict[str, Any]) -> None:
    env = ChatEnv(batch_size=(2,)).append_transform(OURS(results=Parts(), **ours))
    stepped = env.step(with_replies(begin(env), [fenced("print(1)"), "No."]))
    prompt = stepped["next", "history"].prompt
    assert prompt.batch_size == (2, 3)
    (answer,) = answers_in(prompt)
    assert [part["type"] for part in answer] == ["text", "image_url"]
    # The next turn reads on behind it.
    stepped = env.step(with_replies(env.step_mdp(stepped), [fenced("print(2)")] * 2))
    assert stepped["next", "history"].prompt.batch_size == (2, 5)
    env.close()
