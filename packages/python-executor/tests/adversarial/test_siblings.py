"""What a program could reach of those that run beside it, where a policy gives it more."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from python_executor import PythonExecutorService, SandboxPolicy

from ._arena import VARIANTS


@pytest.fixture
def granted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that policies grant, and where pools have their directories otherwise."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder).resolve()
        assert list(Path(folder).iterdir()) == []


VICTIM = "import time\nopen('mine', 'w').write('secret')\ntime.sleep(1)\nopen('mine').read()"
# Looks for the other's file where it is granted everything, and beside its own directory.
ATTACKER = """
import os, time
here = os.getcwd()
end = time.monotonic() + 0.8
found = set()
while time.monotonic() < end:
    for top in {granted!r}, os.path.dirname(os.path.dirname(here)):
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                try: found.add(open(path).read())
                except OSError: pass
                try: open(path, "w").write("spoilt")
                except OSError: pass
found
"""


@pytest.mark.parametrize("namespaces", VARIANTS)
@pytest.mark.parametrize("right", ["read", "write"])
def test_the_files_of_others_are_not_in_a_granted_folder(
    granted: Path, right: str, namespaces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_EXECUTOR_NAMESPACES", "1" if namespaces else "0")
    policy = SandboxPolicy(**{right: [granted]}, strict=True)  # type: ignore[arg-type]
    with PythonExecutorService(pool_size=2, timeout=30.0, sandbox=policy) as executor:
        codes = [VICTIM, ATTACKER.format(granted=str(granted))]
        victim, attacker = executor.execute_batch(codes)
    assert victim["value"] == "'secret'"
    assert attacker["value"] == "set()"
