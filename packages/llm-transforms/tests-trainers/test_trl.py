"""TRL's GRPOTrainer trains a tiny model on the CPU; the loop and the calls of tools are its own."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from transformers.utils import get_json_schema

from llm_transforms import ClosedError, PythonTool
from llm_transforms.trl import PythonEnvironment, PythonEnvironments
from services_core import Handle, ServiceBase, ServiceNotFoundError

pytestmark = [
    # On a busy machine the imports alone take a minute.
    pytest.mark.timeout(180),
    # TRL still uses names that transformers has replaced.
    pytest.mark.filterwarnings(
        r"ignore:`\w*gradient_checkpointing\w*` is deprecated:FutureWarning"
    ),
]

Rollout = list[dict[str, Any]]


class Rollouts:
    """A reward function that remembers what the tool said, and tells the rollouts apart."""

    __name__ = "rollouts"

    def __init__(self) -> None:
        self.told: list[list[str]] = []

    def __call__(self, completions: list[Rollout], **_: Any) -> list[float]:
        self.told += [
            [message["content"] for message in rollout if message["role"] == "tool"]
            for rollout in completions
        ]
        return [float(number) for number, _ in enumerate(completions)]


def test_the_function_is_what_transformers_makes_a_schema_of() -> None:
    with PythonTool() as python:
        assert get_json_schema(python.function) == {
            "type": "function",
            "function": {
                "name": "python",
                "description": "Run a Python program and return what it prints. "
                "Each program starts afresh.",
                "parameters": {
                    "type": "object",
                    "properties": {"code": {"type": "string", "description": "The program."}},
                    "required": ["code"],
                },
                "return": {"type": "string", "description": "What it printed, or why it failed."},
            },
        }


def test_a_model_trains_two_steps_with_the_tool(example: ModuleType) -> None:
    rollouts = Rollouts()
    programs = ["n = 6\nprint(n * 7)", "print(n)"]
    fresh = example.make_model(example.make_tokenizer(), programs)
    with PythonTool() as python:
        trainer = example.train(programs, rollouts, steps=2, tools=[python.function])
    assert trainer.state.global_step == 2
    assert [first for first, _ in rollouts.told] == ["42\n"] * 4
    assert all("NameError: name 'n' is not defined" in second for _, second in rollouts.told)
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert [entry["tools/call_frequency"] for entry in logged] == [2.0, 2.0]
    assert [entry["tools/failure_frequency"] for entry in logged] == [0.0, 0.0]
    # Seeded alike, so what differs was learnt.
    trained, before = trainer.model.state_dict(), fresh.state_dict()
    assert not all(trained[name].equal(weight) for name, weight in before.items())


def test_each_rollout_keeps_names_of_its_own_in_an_environment(example: ModuleType) -> None:
    rollouts = Rollouts()
    count = "n = globals().get('n', 0) + 1\nprint(n)"
    with PythonEnvironments() as environments:
        example.train([count, count], rollouts, steps=2, environment_factory=environments)
        assert repr(environments) == "<PythonEnvironments, 2 open>"
    assert rollouts.told == [["1\n", "2\n"]] * 4


def test_environments_are_sessions_of_a_shared_service(
    example: ModuleType, services: ServiceBase, executor: Handle
) -> None:
    rollouts = Rollouts()
    count = "n = globals().get('n', 0) + 1\nprint(n)"
    with PythonEnvironments(services=services) as environments:
        example.train([count, count], rollouts, steps=2, environment_factory=environments)
        assert len(executor.list_sessions()) == 2
    assert executor.list_sessions() == []
    assert rollouts.told == [["1\n", "2\n"]] * 4


def test_an_environment_can_give_the_reward(example: ModuleType) -> None:
    class Counted(PythonEnvironment):
        calls = 0

        def reset(self, **row: Any) -> None:
            super().reset(**row)
            self.calls = 0

        def python(self, code: str) -> str:
            """Run a program.

            Args:
                code: The program.
            """
            self.calls += 1
            return super().python(code)

        def get_reward(self) -> float:
            return float(self.calls)

    rollouts = Rollouts()
    with PythonEnvironments(Counted) as environments:
        trainer = example.train(["1", "2"], rollouts, steps=1, environment_factory=environments)
    [logged] = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert logged["rewards/Counted/mean"] == 2.0


def test_environments_whose_service_is_not_there_are_an_error_at_once(
    services: ServiceBase,
) -> None:
    with PythonEnvironments(services=services) as environments, pytest.raises(ServiceNotFoundError):
        environments()
    with pytest.raises(ClosedError):
        environments()


@pytest.mark.parametrize(
    ("option", "told"), [(None, "'n is gone\\n'"), ("--environments", "'42\\n'")]
)
def test_the_example_trains(
    example: ModuleType,
    option: str | None,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [option] if option else []
    monkeypatch.setattr(sys, "argv", ["trl_grpo.py", "--steps=1", *options])
    example.main()
    output = capsys.readouterr().out
    assert f"The tool said: [['n is 6\\n', {told}], ['n is 6\\n', {told}]]" in output
    assert "1 steps; calls a rollout: [2.0]" in output


def test_the_example_explains_itself(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["trl_grpo.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        example.main()
    assert ended.value.code == 0
    assert "--environments" in capsys.readouterr().out
