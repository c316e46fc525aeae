"""What others run programs with: a new process for each, TorchRL's pool, a Jupyter kernel."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _executor.preloads import Preload

TORCHRL = "TorchRL"
SUBPROCESS = "subprocess.run"
JUPYTER = "Jupyter kernel"

# What each needs to be there, and how to get it.
NEEDS = {
    "torchrl": (
        ("torchrl", "tensordict", "torch"),
        "python -m pip install torch==2.13.0 tensordict==0.14.3 torchrl==0.14.1",
    ),
    "jupyter": (("ipykernel", "jupyter_client"), "python -m pip install ipykernel jupyter_client"),
    "subprocess": ((), ""),
}

Runner = Callable[[str], str]
"""Runs a program and returns what it printed."""


def why_not(peer: str) -> str | None:
    """What is missing for a peer, if anything is."""
    modules, install = NEEDS[peer]
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"{peer}: no {', '.join(missing)} here. To have it: {install}" if missing else None


def new_process(code: str) -> str:
    """What everybody does without a pool."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def start_torchrl(size: int) -> Any:
    """TorchRL's pool, in this process: on Ray a call would take a millisecond more."""
    os.environ.setdefault("RL_LOGGING_LEVEL", "ERROR")
    # By name, because type checks run where it isn't installed.
    module: Any = importlib.import_module("torchrl.envs.llm.transforms")
    return module.PythonExecutorService(pool_size=size, timeout=60.0)


@contextmanager
def torchrl(size: int, preload: Preload) -> Iterator[Runner]:
    """TorchRL's pool, each of its interpreters having imported what is to be preloaded."""
    service = start_torchrl(size)

    def run(code: str) -> str:
        printed: str = service.execute(code)["stdout"]
        return printed

    try:
        for _ in range(size if preload.modules else 0):
            service.execute(preload.imports)  # it takes them in turn
        yield run
    finally:
        service.cleanup()


@contextmanager
def jupyter_kernel(preload: Preload) -> Iterator[Runner]:
    """A kernel that keeps its state from one program to the next, over its usual sockets."""
    client: Any = importlib.import_module("jupyter_client")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        # Nothing of the user's: no start-up files, no history.
        environment = os.environ | {"IPYTHONDIR": folder, "JUPYTER_RUNTIME_DIR": folder}
        manager = client.KernelManager(connection_file=str(Path(folder) / "kernel.json"))
        # It warns of its own sockets there.
        manager.start_kernel(env=environment, stderr=subprocess.DEVNULL)
        try:
            kernel = manager.client()
            kernel.start_channels()
            try:
                kernel.wait_for_ready(timeout=60)

                def run(code: str) -> str:
                    printed: list[str] = []

                    def take(message: dict[str, Any]) -> None:
                        if message["msg_type"] == "stream":
                            printed.append(message["content"]["text"])

                    kernel.execute_interactive(code, output_hook=take)
                    return "".join(printed)

                run(preload.imports or "0")  # the first program takes longer
                yield run
            finally:
                kernel.stop_channels()
        finally:
            manager.shutdown_kernel(now=True)
