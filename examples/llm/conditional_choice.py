"""Choose where programs run: Ray's service if it pays, processes of this machine otherwise.

    python examples/llm/conditional_choice.py --environments 8
    python examples/llm/conditional_choice.py --environments 32 --ray

A script that runs on a laptop and on a cluster needs one line of choice: where Ray is initialised
and there are more than 16 environments, they share the pool that the job registered; else each
environment has a process here. The rest of the script is the same.
"""

from __future__ import annotations

import argparse

from llm_transforms import ChatEnv, PythonInterpreter
from python_executor import PythonExecutorService
from services_core import get_services

NAMESPACE = "conditional-choice-example"


def ray_is_initialized() -> bool:
    """Whether this process is connected to a Ray; without Ray installed it isn't."""
    try:
        import ray
    except ModuleNotFoundError:
        return False
    return bool(ray.is_initialized())


def make_interpreter(environments: int) -> PythonInterpreter:
    """Return the interpreter that suits: names last from turn to turn either way."""
    if ray_is_initialized() and environments > 16:
        services = get_services(backend="ray", namespace=NAMESPACE)
        services.get_or_register(
            "python_executor", PythonExecutorService, pool_size=8, num_cpus=1, max_concurrency=4
        )
        return PythonInterpreter(services="ray", namespace=NAMESPACE, persistent=True, timeout=30.0)
    return PythonInterpreter(persistent=True, timeout=30.0)


def main(environments: int) -> None:
    """Play two turns, wherever they run."""
    with ChatEnv(environments).append_transform(make_interpreter(environments)) as env:
        print("chosen:", env.transforms[0])
        env.reset(["Remember a number."] * environments)
        env.step([f"```python\nn = {number}\n```" for number in range(environments)])
        chats = env.step(["```python\nprint(n)\n```"] * environments)
        print(chats[-1][-1]["content"], end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=int, default=8, help="how many (default: 8)")
    parser.add_argument("--ray", action="store_true", help="initialise Ray first")
    arguments = parser.parse_args()
    if arguments.ray:
        import ray

        ray.init(include_dashboard=False, log_to_driver=False)
        try:
            main(arguments.environments)
        finally:
            get_services(backend="ray", namespace=NAMESPACE).reset()
            ray.shutdown()
    else:
        main(arguments.environments)
