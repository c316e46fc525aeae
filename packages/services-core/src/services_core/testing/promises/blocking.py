"""A call that would hold up a service is refused, and says what to do instead."""

from __future__ import annotations

import pytest

from services_core.errors import BlockingCallError
from services_core.registry import ServiceBase
from services_core.testing.promises.basis import Promises
from services_core.testing.samples import AsyncCaller, Caller


class Blocking(Promises):
    """A call that would hold up a service is refused, and says what to do instead."""

    def test_a_service_that_calls_itself_is_told_so(self, services: ServiceBase) -> None:
        caller = services.register("caller", Caller)
        with pytest.raises(BlockingCallError, match=r"answer\.aio"):
            caller.ask.options(timeout=30)(caller)
        other = services.register("other", Caller)
        assert caller.ask(other) == 42

    def test_a_coroutine_of_a_service_must_not_block_its_loop(self, services: ServiceBase) -> None:
        caller = services.register("caller", AsyncCaller)
        other = services.register("other", AsyncCaller)
        with pytest.raises(BlockingCallError, match=r"answer\.aio"):
            caller.ask.options(timeout=30)(other)
        assert caller.ask_politely(other) == 42
        assert caller.ask_politely(caller) == 42
