"""`PythonInterpreter` for TorchRL's own `ChatEnv`. Needs the extra `llm-transforms[torchrl]`.

It stands where `torchrl.envs.llm.transforms.PythonInterpreter` stands, and runs all programs of a
step in one go. The documentation lists in what the two differ.
"""

from llm_transforms.extras import require

for _package in ("torch", "tensordict", "torchrl"):
    require(_package, "torchrl")

from llm_transforms.torchrl.interpreter import PythonInterpreter  # noqa: E402 - after the check

__all__ = ["PythonInterpreter"]
