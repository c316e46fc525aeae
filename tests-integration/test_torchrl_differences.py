"""In what the adapter for TorchRL differs from TorchRL's own transform: docs/torchrl.md, tested.

Each test shows both sides, so that it also fails when TorchRL comes to do what we do.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from tensordict import NonTensorData, lazy_stack
from torchrl.data.llm import History
from torchrl.envs.llm import ChatEnv
from torchrl.envs.llm.transforms.tools import PythonExecutorService as TorchRLExecutor
from torchrl.modules.llm.policies import ChatHistory
from torchrl_chats import (
    OURS,
    THEIRS,
    answers,
    answers_in,
    begin,
    fenced,
    laid_out,
    prompts_after,
    with_replies,
)

from llm_transforms.errors import ClosedError
from python_executor import PythonExecutorService
from services_core import ServiceBase, ServiceDiedError, get_services

# TorchRL drops the pipes of its persistent processes without closing them.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

DONE = "Code block 1 executed successfully:\n"
FAILED = "Code block 1 failed:\n"


@pytest.fixture(scope="module")
def services(backend: str) -> Iterator[ServiceBase]:
    """A registry with an executor, for all of these tests."""
    with get_services(backend=backend, namespace="differences") as opened:
        opened.register("python_executor", PythonExecutorService, pool_size=2, max_concurrency=4)
        yield opened


@pytest.fixture
def ours(services: ServiceBase) -> dict[str, Any]:
    """Arguments of our transform, on that executor."""
    return {"services": services, "timeout": 30.0}


def test_failures_are_told_without_the_path_of_a_temporary_file(ours: dict[str, Any]) -> None:
    reply = fenced("print('before')\n1 / 0")
    (their,) = answers(THEIRS(), reply)
    assert their.startswith(f'{FAILED}Traceback (most recent call last):\n  File "/')
    assert "before" not in their
    (our,) = answers(OURS(**ours), reply)
    assert our.startswith(f"{FAILED}before\n")  # what was printed is told as well
    assert our.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "/" not in our.replace("1 / 0", "")


def test_a_timeout_is_told_as_an_error_with_what_was_printed() -> None:
    reply = fenced("print('before')\nwhile True: pass")
    assert answers(THEIRS(timeout=1.0), reply) == [f"{FAILED}Code execution timed out"]
    (our,) = answers(OURS(timeout=1.0), reply)
    assert our.startswith(f"{FAILED}before\n")
    assert "TimeoutError" in our


@pytest.mark.parametrize(
    ("program", "our", "their"),
    [
        # Its processes tell the end of an output by a line, which this output leaves unfinished.
        ("print('a')\nprint('b', end='')", f"{DONE}a\nb", f"{DONE}a\n"),
        ("print('---END---')\nprint('more')", f"{DONE}---END---\nmore\n", DONE),
        ("import sys\nprint('a', file=sys.stderr)\nprint('b')", f"{DONE}b\n", f"{FAILED}a\n"),
        (
            "def down(n):\n    return down(n - 1) if n else 'done'\nprint(down(3))",
            f"{DONE}done\n",
            f"{FAILED}Error: name 'down' is not defined",
        ),
        ("import sys\nprint('a')\nsys.exit(0)", f"{DONE}a\n", f"{FAILED}Process terminated"),
    ],
    ids=["unfinished line", "its own delimiter", "warnings", "recursion", "exit"],
)
def test_persistent_processes_keep_what_torchrls_lose(program: str, our: str, their: str) -> None:
    assert answers(OURS(persistent=True), fenced(program)) == [our]
    (told,) = answers(THEIRS(persistent=True), fenced(program))
    assert told.startswith(their)
    assert told == their or their.startswith(FAILED)


def test_a_process_that_ended_is_replaced() -> None:
    replies = (fenced("import os\nos._exit(3)"), fenced("print('alive')"))
    (_, their) = answers(THEIRS(persistent=True), *replies)
    assert their.startswith(f"{FAILED}Process not initialized or terminated")
    (crash, our) = answers(OURS(persistent=True), *replies)
    assert crash.startswith(FAILED)
    assert our.startswith(f"{DONE}alive\n")


@pytest.mark.parametrize(
    "reply",
    [
        "```py\nprint(1)\n```",
        "```Python3\nprint(1)\n```",
        "~~~python\nprint(1)\n~~~",
        "```python \nprint(1)\n```",
        "```python title=x\nprint(1)\n```",
        "```python\r\nprint(1)\r\n```",
        "1. So:\n   ```python\n   print(1)\n   ```",
        "```python\nprint(1)",  # cut off by the end of the reply
    ],
)
def test_fences_that_torchrls_pattern_misses_are_executed(ours: dict[str, Any], reply: str) -> None:
    assert answers(THEIRS(), reply) == []
    assert answers(OURS(**ours), reply) == [f"{DONE}1\n"]


def test_fences_that_torchrls_pattern_runs_wrongly_are_read_as_markdown(
    ours: dict[str, Any],
) -> None:
    # An empty block: the pattern takes what stands between it and the next one for its program.
    reply = "```python\n```\nNow:\n```python\nprint(1)\n```"
    (their,) = answers(THEIRS(), reply)
    assert their.startswith(FAILED)
    assert "SyntaxError" in their
    assert answers(OURS(**ours), reply)[-1].endswith("executed successfully:\n1\n")
    # A block that shows how a block is written.
    reply = "````markdown\n```python\nprint(1)\n```\n````"
    assert answers(THEIRS(), reply) == [f"{DONE}1\n"]
    assert answers(OURS(**ours), reply) == []


def test_blocks_are_numbered_as_they_stand_in_the_reply(ours: dict[str, Any]) -> None:
    reply = "~~~python\nprint(1)\n~~~\n```python\nprint(2)\n```"
    assert answers(THEIRS(), reply) == [f"{DONE}2\n"]
    assert answers(OURS(**ours), reply) == [
        f"{DONE}1\n",
        "Code block 2 executed successfully:\n2\n",
    ]


@pytest.mark.parametrize("role", ["tool", "user", "<none>"])
def test_only_what_the_policy_wrote_is_executed(ours: dict[str, Any], role: str) -> None:
    told = []
    for interpreter in (THEIRS(), OURS(**ours)):
        env = ChatEnv(batch_size=(1,)).append_transform(interpreter)
        stepped = env.step(with_replies(begin(env), [fenced("print(1)")], role))
        told.append([each["content"] for each in stepped["next", "history"].prompt[0].tolist()])
        env.close()
    assert told[0] == [*told[1], f"{DONE}1\n"]
    assert told[1] == ["Question 0.", fenced("print(1)")]


def test_a_fence_that_a_tool_printed_is_not_executed_by_a_second_interpreter(
    ours: dict[str, Any],
) -> None:
    reply = fenced("print('```python\\nprint(1)\\n```')")
    told = []
    for make in (THEIRS, lambda: OURS(**ours)):
        env = ChatEnv(batch_size=(1,)).append_transform(make()).append_transform(make())
        stepped = env.step(with_replies(begin(env), [reply]))
        told.append(answers_in(stepped["next", "history"].prompt))
        env.close()
    printed = f"{DONE}```python\nprint(1)\n```\n"
    assert told == [[printed, f"{DONE}1\n"], [printed, printed]]


def test_the_role_of_the_policy_is_the_environments(ours: dict[str, Any]) -> None:
    env = ChatEnv(batch_size=(1,), policy_role="model").append_transform(OURS(**ours))
    for role in ("model", "assistant"):
        stepped = env.step(with_replies(begin(env), [fenced("print(1)")], role))
        assert answers_in(stepped["next", "history"].prompt) == [f"{DONE}1\n"]
    env.close()


def test_batches_of_two_dimensions_can_be_stepped(ours: dict[str, Any]) -> None:
    turns = [[fenced(f"print({n})") for n in range(4)]]
    (prompt,) = prompts_after(OURS(**ours), (2, 2), turns)
    assert prompt[..., -1].content == laid_out([f"{DONE}{n}\n" for n in range(4)], (2, 2))
    with pytest.raises(ValueError, match="different shapes"):
        prompts_after(THEIRS(), (2, 2), turns)


def test_programs_know_nothing_of_those_before_them_on_a_service(ours: dict[str, Any]) -> None:
    executor = TorchRLExecutor(pool_size=1)
    executor.execute("secret = 1")
    assert executor.execute("print(secret)")["stdout"] == "1\n"
    executor.cleanup()
    (_, our) = answers(OURS(**ours), fenced("secret = 1"), fenced("print(secret)"))
    assert our.startswith(FAILED)
    assert "NameError" in our


def test_programs_see_nothing_of_the_hosts_environment(
    ours: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY_OF_THE_TRAINER", "secret")
    reply = fenced("import os\nprint(os.environ.get('API_KEY_OF_THE_TRAINER'))")
    assert answers(THEIRS(), reply) == [f"{DONE}secret\n"]
    assert answers(OURS(**ours), reply) == [f"{DONE}None\n"]
    assert answers(OURS(), reply) == [f"{DONE}None\n"]


def test_a_flood_of_output_is_cut_in_the_middle(ours: dict[str, Any]) -> None:
    reply = fenced("print('x' * 3_000_000)")
    (their,) = answers(THEIRS(), reply)
    assert len(their) > 3_000_000
    (our,) = answers(OURS(**ours), reply)
    assert our.startswith(f"{DONE}xxx")
    assert our.endswith("xxx\n")
    assert len(our) < 1_100_000


def test_a_service_that_is_gone_is_an_error_of_the_step(services: ServiceBase) -> None:
    services.register("short-lived", PythonExecutorService, pool_size=1)
    env = ChatEnv(batch_size=(1,)).append_transform(
        OURS(services=services, service_name="short-lived")
    )
    data = begin(env)
    services.unregister("short-lived")
    with pytest.raises(ServiceDiedError):
        env.step(with_replies(data, [fenced("print(1)")]))
    env.close()


def test_processes_that_run_are_no_obstacle_to_pickling() -> None:
    turn = [fenced("n = 1")]
    envs = [ChatEnv(batch_size=(1,)).append_transform(t(persistent=True)) for t in (THEIRS, OURS)]
    for env in envs:
        env.step(with_replies(begin(env), turn))
    theirs, our = envs
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(theirs)
    copied = pickle.loads(pickle.dumps(our))
    stepped = copied.step(with_replies(begin(copied), [fenced("print(n)")]))
    (answer,) = answers_in(stepped["next", "history"].prompt)
    assert "NameError" in answer
    for env in (*envs, copied):
        env.close()


def test_after_its_close_it_runs_nothing() -> None:
    for interpreter, runs in ((THEIRS(persistent=True), True), (OURS(persistent=True), False)):
        env = ChatEnv(batch_size=(1,)).append_transform(interpreter)
        data = with_replies(begin(env), [fenced("print(1)")])
        env.step(data)
        env.close()
        if runs:
            assert answers_in(env.step(data)["next", "history"].prompt) == [f"{DONE}1\n"]
            env.close()
        else:
            with pytest.raises(ClosedError):
                env.step(data)


def test_a_reply_in_parts_is_read(ours: dict[str, Any]) -> None:
    env = ChatEnv(batch_size=(1,)).append_transform(OURS(**ours))
    data = begin(env)
    parts = [{"type": "text", "text": fenced("print(1)")}]
    reply = lazy_stack([History(role="assistant", content=NonTensorData(parts))])
    prompt = data["history"].prompt
    data["history"] = ChatHistory(prompt=prompt, full=prompt.append(reply, inplace=False))
    assert answers_in(env.step(data)["next", "history"].prompt) == [f"{DONE}1\n"]
    env.close()
