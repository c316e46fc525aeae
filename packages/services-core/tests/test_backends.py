"""Backends are found through entry points, and each way to fail has its own error."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from services_core import (
    BackendLoadError,
    BackendNotInstalledError,
    InlineService,
    InvalidNameError,
    UnknownBackendError,
    get_services,
    installed_backends,
)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a distribution with one backend and one module, for this test."""

    def write(backend: str, entry_point: str, module: str, source: str) -> None:
        information = tmp_path / f"services_{backend}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: services-{backend}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(
            f"[services_core.backends]\n{backend} = {entry_point}\n"
        )
        (tmp_path / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def test_the_first_party_backend_uses_the_door_of_all_others() -> None:
    assert "inline" in entry_points(group="services_core.backends").names
    assert type(get_services(backend="inline")) is InlineService


def test_a_strangers_backend_is_found(install: Any) -> None:
    install(
        "strange",
        "strange_backend:Strange",
        "strange_backend",
        "from services_core import InlineService\nclass Strange(InlineService): pass\n",
    )
    services = get_services(backend="strange", namespace="n")
    assert type(services).__name__ == "Strange"
    assert "strange" in installed_backends()


@pytest.mark.parametrize("backend", ["nonsense", "", None, 3])
def test_an_unknown_backend_lists_what_is_installed(backend: Any) -> None:
    with pytest.raises(UnknownBackendError, match="inline") as caught:
        get_services(backend=backend)
    assert caught.value.installed == installed_backends()


@pytest.mark.parametrize("backend", ["local", "ray", "monarch"])
def test_a_known_backend_that_is_not_installed_says_how_to_get_it(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services_core.backends.entry_points", lambda **_: ())
    with pytest.raises(BackendNotInstalledError, match=f"pip install services-{backend}"):
        get_services(backend=backend)


def test_a_backend_whose_import_fails_names_the_distribution_and_the_cause(install: Any) -> None:
    install("broken", "broken_backend:Broken", "broken_backend", "import no_such_module\n")
    with pytest.raises(BackendLoadError, match=r"services-broken.*broken_backend:Broken") as caught:
        get_services(backend="broken")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_what_is_no_registry_is_no_backend(install: Any) -> None:
    install("odd", "odd_backend:Odd", "odd_backend", "class Odd: pass\n")
    with pytest.raises(BackendLoadError, match="no ServiceBase"):
        get_services(backend="odd")


@pytest.mark.parametrize("namespace", ["", "a\0b", None, 7, b"bytes"])
def test_what_is_no_namespace_is_refused(namespace: Any) -> None:
    with pytest.raises(InvalidNameError, match="namespace"):
        get_services(backend="inline", namespace=namespace)


def test_an_option_that_the_backend_doesnt_know_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        get_services(backend="inline", colour="red")
