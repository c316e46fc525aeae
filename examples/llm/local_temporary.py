"""Mode 3 of 3: each program runs in a fresh process, without any service.

    python examples/llm/local_temporary.py

The transform makes a small pool for itself at the first program. Nothing is kept: a name of one
block is unknown in the next. What a program did wrong is a message for the model, never an error.
"""

from __future__ import annotations

import argparse

from llm_transforms import ChatEnv, PythonInterpreter

REPLIES = [
    "```python\nprint(6 * 7)\n```",
    "```python\nx = 1\n```\nand then\n```python\nprint(x)\n```",
    "```python\nwhile True:\n    pass\n```",
    "No code is needed for this.",
]


def main(timeout: float) -> None:
    """Play one turn of four replies, and print what the tool says to each."""
    interpreter = PythonInterpreter(timeout=timeout, max_output_chars=2_000, max_calls_per_turn=4)
    with ChatEnv(batch_size=(len(REPLIES),)).append_transform(interpreter) as env:
        env.reset(["Do something."] * len(REPLIES))
        for number, chat in enumerate(env.step(REPLIES)):
            said = [message["content"].strip() for message in chat if message["role"] == "tool"]
            print(f"-- environment {number}", *said, sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds a program may run")
    main(parser.parse_args().timeout)
