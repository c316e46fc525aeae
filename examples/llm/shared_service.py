"""Mode 1 of 3: all environments share the interpreters of a service.

    python examples/llm/shared_service.py
    python examples/llm/shared_service.py --backend ray --environments 128

The pool is registered once under a name; any worker of the backend finds it by backend, namespace
and name. A turn is one call, however many environments there are, and each program starts afresh.
With `persistent=True` each environment would be a session of the pool, which keeps its names.
"""

from __future__ import annotations

import argparse

from llm_transforms import ChatEnv, PythonInterpreter
from python_executor import PythonExecutorService
from services_core import get_services

NAMESPACE = "shared-service-example"


def main(backend: str, environments: int) -> None:
    """Register a pool, play a turn, and end what was registered."""
    with get_services(backend=backend, namespace=NAMESPACE) as services:
        executor = services.get_or_register(
            "python_executor", PythonExecutorService, pool_size=4, timeout=30.0, max_concurrency=4
        )
        env = ChatEnv(batch_size=(environments,), system_prompt="Execute Python when requested.")
        env = env.append_transform(PythonInterpreter(services=backend, namespace=NAMESPACE))
        env.reset([f"What is {number} squared?" for number in range(environments)])
        chats = env.step([f"```python\nprint({number}**2)\n```" for number in range(environments)])
        print(chats[-1][-1]["content"], end="")
        print(f"{environments} environments, {executor.stats()['pool_size']} interpreters, 1 call")
        env.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="local", help="inline, local, ray (default: local)")
    parser.add_argument("--environments", type=int, default=16, help="how many (default: 16)")
    arguments = parser.parse_args()
    main(arguments.backend, arguments.environments)
