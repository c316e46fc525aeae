"""Options and constructor arguments don't get mixed up."""

from __future__ import annotations

from typing import Any

import pytest

from services_core.errors import (
    AmbiguousOptionError,
    InvalidOptionError,
    ServiceStartError,
)
from services_core.registry import ServiceBase
from services_core.testing.promises.basis import Promises
from services_core.testing.samples import (
    Counter,
    Echo,
    Meeting,
    WantsCpus,
)


class Options(Promises):
    """Options and constructor arguments don't get mixed up."""

    def test_every_backend_takes_the_portable_options(self, services: ServiceBase) -> None:
        counter = services.register(
            "counter",
            Counter,
            3,
            num_cpus=0,
            num_gpus=0,
            memory=1024,
            max_concurrency=2,
            max_restarts=0,
            replicas=1,
            lifetime="detached",
            start_timeout=60.0,
            close_timeout=5.0,
        )
        assert counter.add() == 4

    def test_a_keyword_that_is_no_option_reaches_the_constructor(
        self, services: ServiceBase
    ) -> None:
        echo = services.register("echo", Echo, num_cpus=0, colour="red", namespace="mine")
        assert echo.arguments() == ((), {"colour": "red", "namespace": "mine"})
        with pytest.raises(ServiceStartError, match="colour"):
            services.register("counter", Counter, colour="red")

    def test_a_keyword_that_is_both_is_refused(self, services: ServiceBase) -> None:
        with pytest.raises(AmbiguousOptionError, match="register_with_options") as caught:
            services.register("wants", WantsCpus, num_cpus=4)
        assert caught.value.names == ["num_cpus"]
        assert isinstance(caught.value, TypeError)

    def test_register_with_options_keeps_them_apart(self, services: ServiceBase) -> None:
        wants = services.register_with_options(
            "wants", WantsCpus, actor_options={"num_cpus": 0}, num_cpus=4
        )
        assert wants.num_cpus() == 4
        with pytest.raises(InvalidOptionError, match="colour"):
            services.register_with_options("other", WantsCpus, actor_options={"colour": "red"})

    @pytest.mark.parametrize(
        "options",
        [
            {"num_cpus": -1},
            {"num_cpus": "two"},
            {"max_concurrency": 0},
            {"start_timeout": 0},
            {"close_timeout": float("nan")},
            {"lifetime": "eternal"},
        ],
    )
    def test_an_option_that_makes_no_sense_is_refused(
        self, services: ServiceBase, options: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidOptionError, match=next(iter(options))):
            services.register("counter", Counter, **options)
        assert services.list() == []

    def test_one_call_runs_at_a_time_by_default(self, services: ServiceBase) -> None:
        meeting = services.register("meeting", Meeting)
        futures = [meeting.pass_by.submit() for _ in range(20)]
        assert {future.result(30) for future in futures} == {1}

    def test_max_concurrency_lets_calls_run_together(self, services: ServiceBase) -> None:
        meeting = services.register("meeting", Meeting, max_concurrency=2)
        futures = [meeting.meet.submit() for _ in range(2)]
        assert [future.result(30) for future in futures] == ["met", "met"]
