"""Two services on one environment: many quick interpreters, and few that may take long.

    python examples/llm/fast_and_heavy.py
    python examples/llm/fast_and_heavy.py --backend ray

The model chooses by the fence that it writes: ```python is for quick programs, ```heavy for those
that need time and memory. Each interpreter takes its own fences and leaves the others' alone, and
neither executes what the other one answered.
"""

from __future__ import annotations

import argparse

from llm_transforms import ChatEnv, MarkdownFences, PythonInterpreter
from python_executor import PythonExecutorService, SandboxPolicy
from services_core import get_services

NAMESPACE = "fast-and-heavy-example"
REPLIES = [
    "Quick:\n```python\nprint(sum(range(10)))\n```",
    "This needs more:\n```heavy\nprint(len(bytearray(500_000_000)))\n```",
    "Both:\n```python\nprint('quick')\n```\n```heavy\nprint('heavy')\n```",
    "Too much for the quick ones:\n```python\nprint(len(bytearray(500_000_000)))\n```",
]


def main(backend: str) -> None:
    """Register both pools, play a turn, and print who answered what."""
    with get_services(backend=backend, namespace=NAMESPACE) as services:
        services.register(
            "fast",
            PythonExecutorService,
            pool_size=4,
            timeout=2.0,
            sandbox=SandboxPolicy(memory=256 * 2**20),
            max_concurrency=4,
        )
        services.register("heavy", PythonExecutorService, pool_size=1, timeout=60.0)

        env = ChatEnv(batch_size=(len(REPLIES),))
        env = env.append_transform(
            PythonInterpreter(services=services, service_name="fast", timeout=2.0)
        )
        env = env.append_transform(
            PythonInterpreter(
                services=services,
                service_name="heavy",
                timeout=60.0,
                tool_name="heavy",
                code_format=MarkdownFences(["heavy"]),
            )
        )
        env.reset(["Compute something."] * len(REPLIES))
        for number, chat in enumerate(env.step(REPLIES)):
            for message in chat[2:]:
                print(number, message["role"], message["content"].strip().splitlines()[-1])
        env.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="local", help="inline, local, ray (default: local)")
    main(parser.parse_args().backend)
