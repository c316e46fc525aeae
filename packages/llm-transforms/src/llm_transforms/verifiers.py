"""`PythonToolset`: the Python tool for environments of verifiers (Prime Intellect).

verifiers gives a task its tools as servers that it starts itself, one for each rollout, so the
names of a rollout are its own. Needs the extra `llm-transforms[verifiers]`.

These servers have a TMPDIR of their own, by which services of the local backend are looked for: set
SERVICES_LOCAL_DIR where they are registered and where verifiers runs, and they meet.
"""

from __future__ import annotations

from llm_transforms.extras import require

require("verifiers", "verifiers")

import verifiers.v1 as vf  # noqa: E402 - after the package is known to be there

from llm_transforms.tool import PythonTool  # noqa: E402


class PythonToolsetConfig(vf.ToolsetConfig):
    """Where programs run, and for how long; the rest is where verifiers runs the tool's server.

    Attributes:
        persistent: Whether names last from one call of a rollout to the next.
        timeout: Seconds that one program may run.
        services: Name of a backend ("local", "ray", ...), so that all rollouts share the
            interpreters of a service. None runs programs in the tool's server itself.
        service_name: Name of the executor among the services.
        namespace: Namespace of the services, "services" if None.
        max_output_chars: Characters of a program's output that the model is told; None for all.
    """

    persistent: bool = True
    timeout: float = 10.0
    services: str | None = None
    service_name: str = "python_executor"
    namespace: str | None = None
    max_output_chars: int | None = None


class PythonToolset(vf.Toolset[PythonToolsetConfig]):
    """One tool, `python(code)`, for the `toolsets` of a verifiers task.

    verifiers runs it in a process of its own for each rollout, in which it opens a `PythonTool`.
    In the `toolsets` of a taskset it is one for all rollouts: give it `persistent=False` there.

    Example (of a task)::

        class MyTask(vf.Task):
            @classmethod
            def toolsets(cls, config):
                return [PythonToolset(PythonToolsetConfig(services="local"))]
    """

    TOOL_PREFIX = None  # the model calls it `python`, as it may have been trained to

    async def setup(self) -> None:
        """Open the tool, before the first call.

        Raises:
            ServiceNotFoundError: The namespace has no service of that name.
        """
        settings = self.config
        self._tool = self._exit_stack.enter_context(
            PythonTool(
                persistent=settings.persistent,
                timeout=settings.timeout,
                services=settings.services,
                service_name=settings.service_name,
                namespace=settings.namespace,
                max_output_chars=settings.max_output_chars,
            )
        )

    @vf.tool
    async def python(self, code: str) -> str:
        """Run a Python program and return what it prints."""
        told: str = await self._tool.aio(code)
        return told


if __name__ == "__main__":  # how verifiers starts it
    PythonToolset.run()
