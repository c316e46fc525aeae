"""The Python tool for TRL: a function in `tools`, or an environment with names that last.

`GRPOTrainer(tools=[PythonTool(...).function])` needs nothing of this module: all rollouts share
that tool, so its programs start afresh. With `environment_factory=PythonEnvironments(...)` each
rollout has a session of its own. Needs the extra `llm-transforms[trl]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llm_transforms.errors import ClosedError
from llm_transforms.extras import require
from llm_transforms.lifetime import Closing
from llm_transforms.tool import PythonTool
from services_core import ServiceBase

require("trl", "trl")


class PythonEnvironment:
    """One rollout's Python, for TRL: a tool `python` whose names last until the next rollout.

    Derive from it to give rewards: every public method of the class but `reset` and `get_reward`
    is a tool that the model is told of, by its name, type hints and docstring in Google style.

    Args:
        tool: A persistent tool of this environment's own; an attribute, for rewards to look into.
    """

    def __init__(self, tool: PythonTool) -> None:
        self.tool = tool

    def reset(self, **row: Any) -> None:
        """Forget all names, before a rollout.

        Args:
            **row: The columns of the data set's row, which TRL passes.
        """
        self.tool.reset()

    def python(self, code: str) -> str:
        """Run a Python program and return what it prints. Names are kept from call to call.

        Args:
            code: The program.

        Returns:
            What it printed, or why it failed.
        """
        return self.tool(code)


class PythonEnvironments(Closing):
    """Makes an environment for each rollout: the `environment_factory` of a `GRPOTrainer`.

    TRL makes as many as a batch has rollouts, uses them again for the next batch, and never closes
    them: close this when training has ended.

    Args:
        environment: What makes an environment of a tool: `PythonEnvironment`, or a class that
            derives from it.
        timeout: Seconds that one program may run.
        services: As for `PythonTool`: a name or a registry shares the interpreters of a service, in
            which each environment is a session; None gives each a process of its own.
        service_name: Name of the executor among the services.
        namespace: Namespace of a backend's services, "services" if None.
        max_output_chars: Characters of a program's output that the model is told; None for all.

    Raises:
        ServiceNotFoundError: The namespace has no service of that name. The first environment is
            made by the trainer's constructor, which raises this.

    Example (of its use)::

        with PythonEnvironments(services="local") as environments:
            trainer = GRPOTrainer(..., environment_factory=environments)
            trainer.train()
    """

    def __init__(
        self,
        environment: Callable[[PythonTool], PythonEnvironment] = PythonEnvironment,
        /,
        *,
        timeout: float = 10.0,
        services: str | ServiceBase | None = None,
        service_name: str = "python_executor",
        namespace: str | None = None,
        max_output_chars: int | None = None,
    ) -> None:
        self._environment = environment
        self._settings: dict[str, Any] = {
            "timeout": timeout,
            "services": services,
            "service_name": service_name,
            "namespace": namespace,
            "max_output_chars": max_output_chars,
        }
        self.tools: list[PythonTool] = []
        self._closed = False

    def __call__(self) -> PythonEnvironment:
        """Make an environment.

        Raises:
            ClosedError: This is closed.
        """
        if self._closed:
            raise ClosedError(self)
        tool = PythonTool(persistent=True, **self._settings)
        self.tools.append(tool)
        return self._environment(tool)

    def close(self) -> None:
        """End the processes and sessions of all environments; a service runs on."""
        self._closed = True
        while self.tools:
            self.tools.pop().close()

    def __repr__(self) -> str:
        return f"<PythonEnvironments, {len(self.tools)} open>"
