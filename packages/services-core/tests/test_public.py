"""The package offers what its table of contents says."""

from __future__ import annotations

from importlib.resources import files

import services_core
import services_core.testing


def test_all_is_sorted_and_exact() -> None:
    # Sorted as ruff's RUF022 does: constants, classes, then functions.
    for module in (services_core, services_core.testing):
        names = module.__all__
        assert len(set(names)) == len(names)
        assert all(hasattr(module, name) for name in names)
    public = {
        name
        for name, value in vars(services_core).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("services_core")
    }
    assert public <= set(services_core.__all__)


def test_it_ships_its_types() -> None:
    assert files(services_core).joinpath("py.typed").is_file()
