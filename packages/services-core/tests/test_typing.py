"""What the type checker sees; mypy runs over this file, pytest over the values."""

from __future__ import annotations

from typing import assert_type

from services_core import Handle, InlineService
from services_core.testing.samples import Counter


def test_get_is_typed_by_the_class_that_it_is_given() -> None:
    with InlineService("typed") as services:
        assert_type(services.register("counter", Counter), Handle)
        assert_type(services.get("counter"), Handle)
        counter = assert_type(services.get("counter", as_=Counter), Counter)
        assert assert_type(counter.add(2), int) == 2
        assert_type(services["counter"], Handle)
        assert_type(services.list(), list[str])
