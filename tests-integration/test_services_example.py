"""The example of the registry runs from end to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "services" / "distributed_services.py"


def test_workers_share_a_tokenizer_and_a_buffer(backend: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--backend", backend, "--workers", "3"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "came from 3 workers; 0 in the evaluation buffer" in " ".join(done.stdout.split())


def test_it_teaches_its_options() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "--help"], capture_output=True, text=True, check=True
    )
    assert "--backend" in done.stdout
    assert "replay" in done.stdout
