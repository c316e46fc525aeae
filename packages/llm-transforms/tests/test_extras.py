"""What is imported, and what is said where a package is missing."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from llm_transforms.errors import MissingExtraError

# Each module that needs a package, and the extra that brings it.
MODULES = {"mcp": "mcp", "trl": "trl", "verifiers": "verifiers"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_whose_package_is_missing_says_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"llm_transforms.{module}"
    for loaded in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)  # as if it weren't there
    with pytest.raises(MissingExtraError) as raised:
        importlib.import_module(name)
    assert isinstance(raised.value, ImportError)
    assert f'pip install "llm-transforms[{MODULES[module]}]"' in str(raised.value)


def test_the_package_imports_none_of_them() -> None:
    code = "import sys, llm_transforms; print({*sys.argv[1:]} & sys.modules.keys() or 'none')"
    command = [sys.executable, "-P", "-c", code, *MODULES, "openai", "torch", "torchrl"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output == "none\n"
