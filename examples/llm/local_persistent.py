"""Mode 2 of 3: each environment has a process of its own, without any service.

    python examples/llm/local_persistent.py

Names last from turn to turn until the environment is reset. A process starts with its environment's
first program; an environment that never runs code has none. Good for few environments on one
machine; a shared service with `persistent=True` does the same with fewer interpreters.
"""

from __future__ import annotations

import argparse

from llm_transforms import ChatEnv, PythonInterpreter


def main(environments: int) -> None:
    """Define a name in one turn, use it in the next, and lose it with a reset."""
    interpreter = PythonInterpreter(persistent=True, timeout=30.0)
    with ChatEnv(batch_size=(environments,)).append_transform(interpreter) as env:
        env.reset(["Count, please."] * environments)
        env.step([f"```python\nn = {number}\n```" for number in range(environments)])
        chats = env.step(["```python\nn += 1\nprint(n)\n```"] * environments)
        print("kept:", chats[-1][-1]["content"], end="")

        env.reset(["Begin anew."], environments=[0])
        chats = env.step(["```python\nprint(n)\n```"] * environments)
        print("after a reset:", chats[0][-1]["content"].splitlines()[-1])
        print("the others:", chats[-1][-1]["content"], end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=int, default=4, help="how many (default: 4)")
    main(parser.parse_args().environments)
