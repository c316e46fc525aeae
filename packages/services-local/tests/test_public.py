"""The package offers what its table of contents says."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.resources import files

import pytest

import services_local
from services_local import LocalService


def test_all_is_exact() -> None:
    for name in services_local.__all__:
        assert isinstance(getattr(services_local, name), type)
    with pytest.raises(AttributeError, match="Remote"):
        _ = services_local.RemoteService


def test_it_ships_its_types() -> None:
    assert files(services_local).joinpath("py.typed").is_file()


def test_its_entry_point_is_its_registry() -> None:
    (entry_point,) = entry_points(group="services_core.backends", name="local")
    assert entry_point.load() is LocalService
