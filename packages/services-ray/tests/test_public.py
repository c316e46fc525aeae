"""The package offers what its table of contents says."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.resources import files

import services_ray
from services_ray import RayService


def test_all_is_exact() -> None:
    public = {
        name
        for name, value in vars(services_ray).items()
        if not name.startswith("_") and isinstance(value, type)
    }
    assert public == set(services_ray.__all__)


def test_it_ships_its_types() -> None:
    assert files(services_ray).joinpath("py.typed").is_file()


def test_its_entry_point_is_its_registry() -> None:
    (entry_point,) = entry_points(group="services_core.backends", name="ray")
    assert entry_point.load() is RayService
