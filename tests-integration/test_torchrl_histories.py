"""The histories of the adapter for TorchRL equal those of TorchRL's own transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tensordict import TensorDict, lazy_stack
from torchrl.data.llm import History
from torchrl.envs.llm import ChatEnv
from torchrl.modules.llm.policies import ChatHistory
from torchrl_chats import FIELDS, OURS, THEIRS, begin, fenced, flat, prompts_after, with_replies
from workers import CountingExecutor

from python_executor import PythonExecutorService
from services_core import ServiceBase

NAMESPACE = "integration"

# TorchRL drops the pipes of its persistent processes without closing them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

# What each environment replies, turn by turn: mixed, nothing to run, few programs. Successful, and
# with a newline at the end of the output.
LOOP = fenced("for i in range(3):\n    print(i)")
TWO = f"First:\n{fenced('print(1)')}\nThen:\n{LOOP}\nDone."
TURNS = [
    [
        ("No code.", TWO, fenced(f"print({n})"), f"{fenced(f'print({n} * 2)')}\n")[n % 4]
        for n in range(128)
    ],
    ["Nothing to run.", "`print(1)`", "```bash\nls\n```", ""] * 32,
    [fenced(f"print('é', {n})") if n % 8 == 5 else "Done." for n in range(128)],
]
LONE_TURNS = [[TWO], ["No code."], [fenced("print('again')")], [fenced("print()")]]


@pytest.fixture(scope="module")
def theirs() -> list[Any]:
    """The next prompts of TorchRL's own transform, 128 environments, turn by turn."""
    return prompts_after(THEIRS(), (128,), TURNS)


@pytest.fixture
def ours(services: ServiceBase, backend: str) -> Any:
    """Our transform, on an executor that counts its calls."""
    services.register(
        "python_executor", CountingExecutor, pool_size=8, timeout=30.0, max_concurrency=4
    )
    return OURS(services=backend, namespace=NAMESPACE, timeout=30.0)


def assert_same(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    """All fields and shapes."""
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert our.batch_size == their.batch_size
        for field in FIELDS:
            assert getattr(our, field) == getattr(their, field), field
        assert our.tolist() == their.tolist()


def test_128_environments_have_the_same_histories(
    ours: Any, theirs: list[Any], services: ServiceBase
) -> None:
    histories = prompts_after(ours, (128,), TURNS)
    assert_same(histories, theirs)
    # Replies without code and with one program are filled up to those with two.
    assert (
        histories[0].tolist()[0][-2:]
        == [{"role": "<none>", "content": "", "is_complete": True}] * 2
    )
    # Two turns had programs: each was one call.
    assert [tuple(call) for call in services["python_executor"].calls()] == [
        ("execute_batch", 128),
        ("execute_batch", 16),
    ]


def test_a_batch_of_two_dimensions_has_the_same_histories_in_one_call_a_step(
    ours: Any, theirs: list[Any], services: ServiceBase
) -> None:
    histories = prompts_after(ours, (4, 32), TURNS)
    assert [history.batch_size[:2] for history in histories] == [(4, 32)] * 3
    assert_same(histories, [each.reshape(4, 32, each.batch_size[-1]) for each in theirs])
    assert [history.tolist() for history in histories] == [
        [each.tolist()[row * 32 : row * 32 + 32] for row in range(4)] for each in theirs
    ]
    assert [tuple(call) for call in services["python_executor"].calls()] == [
        ("execute_batch", 128),
        ("execute_batch", 16),
    ]


def test_a_lone_environment_has_the_same_history(ours: Any) -> None:
    assert_same(prompts_after(ours, (1,), LONE_TURNS), prompts_after(THEIRS(), (1,), LONE_TURNS))


@pytest.mark.parametrize("persistent", [False, True])
def test_without_a_service_histories_are_the_same_too(*, persistent: bool) -> None:
    turns = [
        [fenced(f"x = {n}\nprint(x)") if n % 2 else "No code." for n in range(4)],
        [TWO, fenced("print('y')"), "", "No."],
    ]
    assert_same(
        prompts_after(OURS(persistent=persistent), (4,), turns),
        prompts_after(THEIRS(persistent=persistent), (4,), turns),
    )


def test_what_else_a_step_returns_is_the_same(ours: Any) -> None:
    stepped = []
    for interpreter in (ours, THEIRS()):
        env = ChatEnv(batch_size=(2,)).append_transform(interpreter)
        data = with_replies(begin(env), [fenced("print(1)"), "No."])
        stepped.append(env.step(data))
        env.close()
    assert repr(stepped[0]) == repr(stepped[1])
    for each in stepped:  # what the policy wrote stays as it was
        assert flat(each["history"].full[..., -1].role, (2,)) == ["assistant", "assistant"]


def test_chats_of_different_lengths_are_answered(services: ServiceBase, backend: str) -> None:
    services.register("python_executor", PythonExecutorService, pool_size=2)
    chats = [
        [{"role": "user", "content": "a"}],
        [{"role": "user", "content": text} for text in ("b", "c", "d")],
    ]
    query = lazy_stack([History.from_chats(chat) for chat in chats])

    def step(interpreter: Any) -> Any:
        env = ChatEnv(batch_size=(2,)).append_transform(interpreter)
        try:
            data = env.reset(TensorDict({"query": query}, batch_size=(2,)))
            full = History.from_chats(
                [[*chat, {"role": "assistant", "content": fenced("print(1)")}] for chat in chats]
            )
            data["history"] = ChatHistory(prompt=data["history"].prompt, full=full)
            return env.step(data)["next", "history"].prompt
        finally:
            env.close()

    history = step(OURS(services=backend, namespace=NAMESPACE))
    assert [len(chat.tolist()) for chat in history.unbind(0)] == [3, 5]
    for chat in history.unbind(0):
        assert chat.tolist()[-1]["content"] == "Code block 1 executed successfully:\n1\n"
    with pytest.raises(ValueError, match="longer than argument"):
        step(THEIRS())
