"""`RegistryConformance`: every promise of the registry as a test."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from services_core.errors import (
    AmbiguousOptionError,
    InvalidNameError,
    InvalidOptionError,
    RegistryClosedError,
    RemoteError,
    ServiceDiedError,
    ServiceExistsError,
    ServiceNotFoundError,
    ServiceStartError,
    ServiceTimeoutError,
)
from services_core.handles import Handle, native
from services_core.registry import ServiceBase
from services_core.testing import samples
from services_core.testing.capabilities import Capability
from services_core.testing.observing import eventually, is_running
from services_core.testing.samples import (
    AsyncCounter,
    BrokenError,
    Counter,
    Echo,
    Failing,
    Gated,
    Meeting,
    WantsCpus,
)

T = TypeVar("T")
OpenRegistry = Callable[[str], ServiceBase]
"""From a namespace to a registry."""

_NEEDS = "_services_core_needs"


def needs(*capabilities: Capability) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test as one for backends with these capabilities."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        setattr(test, _NEEDS, frozenset(capabilities))
        return test

    return mark


class RegistryConformance:
    """What every backend promises.

    A subclass declares `capabilities`, and defines the fixture `open_registry`.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, test in vars(RegistryConformance).items():
            if not name.startswith("test_"):
                continue
            if getattr(cls, name, None) is not test:
                raise TypeError(
                    f"{cls.__name__} overrides {name}: a backend keeps every promise that its "
                    "capabilities name"
                )
            if not getattr(test, _NEEDS, frozenset()) <= cls.capabilities:
                setattr(cls, name, None)  # pytest doesn't collect it

    def run_in_worker(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function in another worker of the job, and return its value.

        A backend whose services are seen by other processes overrides this.

        Args:
            function: A module-level function of an importable module.
            *args: Its arguments.
        """
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(function, *args).result()

    @pytest.fixture
    def open_registry(self) -> Iterator[OpenRegistry]:
        """A function from a namespace to a registry; what it opened is ended afterwards."""
        raise NotImplementedError("define the fixture open_registry in the subclass")

    @pytest.fixture
    def services(self, open_registry: OpenRegistry) -> ServiceBase:
        """An empty registry."""
        return open_registry("conformance")

    # -- registering and finding -----------------------------------------------------------------

    def test_a_registered_service_answers(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter, 5)
        assert counter.add(2) == 7
        assert services.get("counter").add() == 8
        assert services["counter"].add() == 9

    def test_it_can_be_called_through_a_future_and_from_asyncio(
        self, services: ServiceBase
    ) -> None:
        counter = services.register("counter", Counter)
        assert counter.add.submit(2).result(30) == 2
        assert asyncio.run(counter.add.aio(3)) == 5

        async def many() -> list[int]:
            return sorted(await asyncio.gather(*(counter.add.aio() for _ in range(20))))

        assert asyncio.run(many()) == list(range(6, 26))

    def test_remote_gives_the_backends_own_future(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        assert counter.add.remote(2) is not None
        assert native(counter) is not None
        # A call that somebody waits for may overtake one that nobody does.
        assert eventually(lambda: counter.add(0) == 2)

    def test_positional_and_keyword_arguments_arrive(self, services: ServiceBase) -> None:
        echo = services.register("echo", Echo, 1, "two", three=[3])
        assert echo.arguments() == ((1, "two"), {"three": [3]})
        assert echo.back(b"4", five=None) == ((b"4",), {"five": None})

    def test_every_worker_finds_it(self, services: ServiceBase) -> None:
        services.register("counter", Counter, 40)
        assert self.run_in_worker(_use_counter, services) == (["counter"], 42)
        assert services["counter"].add(0) == 42

    def test_a_worker_can_register_for_the_others(self, services: ServiceBase) -> None:
        self.run_in_worker(_register_counter, services)
        assert services["counter"].add() == 1

    def test_a_handle_goes_to_another_worker(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        assert self.run_in_worker(_add_two, counter) == 2

    def test_an_empty_registry_is_truthy_and_lists_nothing(self, services: ServiceBase) -> None:
        assert services
        assert services.list() == []
        assert len(services) == 0
        assert list(services) == []
        assert "counter" not in services

    def test_it_lists_its_services_sorted(self, services: ServiceBase) -> None:
        services["b"] = Counter
        services["a"] = Counter
        assert services.list() == list(services) == ["a", "b"]
        assert len(services) == 2
        assert "a" in services
        del services["a"]
        assert services.list() == ["b"]
        assert "a" not in services

    def test_an_unknown_name_raises_and_lists_what_there_is(self, services: ServiceBase) -> None:
        services.register("counter", Counter)
        with pytest.raises(ServiceNotFoundError, match="counter") as caught:
            services.get("tokenizer")
        assert caught.value.available == ["counter"]
        assert isinstance(caught.value, KeyError)
        with pytest.raises(ServiceNotFoundError):
            services.describe("tokenizer")
        with pytest.raises(ServiceNotFoundError):
            services.unregister("tokenizer")

    @pytest.mark.parametrize("name", ["", "a\0b", "\udc80", 3, None])
    def test_what_is_no_name_is_refused(self, services: ServiceBase, name: Any) -> None:
        with pytest.raises(InvalidNameError):
            services.register(name, Counter)
        with pytest.raises(InvalidNameError):
            services.get(name)

    @pytest.mark.parametrize("name", ["päth/../x y", "a" * 500])
    def test_any_other_string_is_a_name(self, services: ServiceBase, name: str) -> None:
        services.register(name, Counter)
        assert services.list() == [name]
        assert services[name].add() == 1

    def test_what_is_no_class_is_refused(self, services: ServiceBase) -> None:
        with pytest.raises(TypeError, match="class"):
            services.register("counter", Counter())  # type: ignore[call-overload]

    # -- registering is atomic -------------------------------------------------------------------

    def test_a_taken_name_is_refused_and_its_service_unharmed(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter, 1)
        with pytest.raises(ServiceExistsError, match="counter") as caught:
            services.register("counter", Echo)
        assert isinstance(caught.value, ValueError)
        assert counter.add() == 2

    def test_of_many_registrations_of_a_name_one_wins(self, open_registry: OpenRegistry) -> None:
        registries = [open_registry("race") for _ in range(8)]
        start = threading.Barrier(len(registries))

        def register(services: ServiceBase) -> Handle | None:
            start.wait(30)
            try:
                return services.register("counter", Counter)
            except ServiceExistsError:
                return None

        with ThreadPoolExecutor(len(registries)) as pool:
            handles = [h for h in pool.map(register, registries) if h is not None]
        assert len(handles) == 1
        assert handles[0] == registries[0]["counter"]

    def test_get_or_register_gives_all_racers_one_service(
        self, open_registry: OpenRegistry
    ) -> None:
        registries = [open_registry("race") for _ in range(8)]

        def get(services: ServiceBase) -> Handle:
            return services.get_or_register("counter", Counter)

        with ThreadPoolExecutor(len(registries)) as pool:
            assert len(set(pool.map(get, registries))) == 1

    def test_a_name_is_reserved_while_its_constructor_runs(
        self, services: ServiceBase, open_registry: OpenRegistry, tmp_path: Path
    ) -> None:
        gate, entered = str(tmp_path / "gate"), str(tmp_path / "entered")
        other = open_registry("conformance")
        with ThreadPoolExecutor(2) as pool:
            registering = pool.submit(services.register, "gated", Gated, gate, entered)
            try:
                samples.wait_for_file(entered)
                with pytest.raises(ServiceExistsError):
                    other.register("gated", Counter)
                assert "gated" not in other
                assert other.list() == []
                with pytest.raises(ServiceNotFoundError):
                    other.get("gated")
                waiting = pool.submit(other.wait_for, "gated", 30)
                assert not waiting.done()
            finally:
                Path(gate).touch()
            assert registering.result(30) == waiting.result(30)
        assert other.list() == ["gated"]

    def test_wait_for_gives_up_at_its_timeout(self, services: ServiceBase) -> None:
        with pytest.raises(ServiceTimeoutError, match="nobody") as caught:
            services.wait_for("nobody", timeout=0.05)
        assert isinstance(caught.value, TimeoutError)

    # -- registered means constructed ------------------------------------------------------------

    def test_a_constructor_that_raises_fails_the_registration(self, services: ServiceBase) -> None:
        with pytest.raises(ServiceStartError, match="BrokenError") as caught:
            services.register("failing", Failing, at_start=True)
        assert "raise BrokenError(7)" in (caught.value.remote_traceback or "")
        assert services.list() == []
        assert services.register("failing", Failing).well() == "well"

    def test_resources_that_cant_be_had_fail_the_registration(self, services: ServiceBase) -> None:
        with pytest.raises(ServiceStartError, match="10000"):
            services.register("greedy", Counter, num_cpus=10_000, start_timeout=2.0)
        assert services.list() == []
        assert services.register("greedy", Counter).add() == 1

    @needs(Capability.START_TIMEOUT)
    def test_a_constructor_that_hangs_is_ended_at_start_timeout(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        with pytest.raises(ServiceStartError, match="start_timeout"):
            services.register("stuck", Gated, str(tmp_path / "never"), start_timeout=2.0)
        assert services.list() == []
        assert services.register("stuck", Counter).add() == 1

    # -- options ---------------------------------------------------------------------------------

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

    # -- errors travel ---------------------------------------------------------------------------

    def test_a_methods_exception_arrives_as_its_own_type(self, services: ServiceBase) -> None:
        failing = services.register("failing", Failing)
        with pytest.raises(BrokenError) as caught:
            failing.fail()
        assert caught.value.number == 7
        with pytest.raises(BrokenError):
            failing.fail.submit().result(30)
        with pytest.raises(BrokenError):
            asyncio.run(failing.fail.aio())
        assert failing.well() == "well"

    @needs(Capability.PROCESSES)
    def test_it_brings_the_remote_traceback(self, services: ServiceBase) -> None:
        failing = services.register("failing", Failing)
        with pytest.raises(BrokenError) as called:
            failing.fail()
        with pytest.raises(BrokenError) as submitted:
            failing.fail.submit().result(30)
        for caught in (called, submitted):
            assert "raise BrokenError(7)" in str(caught.value.__cause__)

    @needs(Capability.PROCESSES)
    def test_what_cant_be_pickled_arrives_as_an_error(self, services: ServiceBase) -> None:
        failing = services.register("failing", Failing)
        with pytest.raises(RemoteError, match="as you see") as caught:
            failing.fail_sealed()
        assert caught.value.type_name.endswith("SealedError")
        assert "fail_sealed" in caught.value.remote_traceback
        with pytest.raises(RemoteError, match="1 and 2") as caught:
            failing.fail_unbuildable()
        assert caught.value.type_name.endswith("UnbuildableError")
        assert "fail_unbuildable" in caught.value.remote_traceback
        with pytest.raises(Exception, match="lock"):
            failing.unpicklable()
        assert failing.well() == "well"

    def test_a_timeout_ends_the_wait_and_not_the_service(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        gated = services.register("gated", Gated, max_concurrency=2)
        gate = str(tmp_path / "gate")
        with pytest.raises(ServiceTimeoutError, match="wait"):
            gated.wait.options(timeout=0.05)(gate)
        with pytest.raises(ServiceTimeoutError):
            asyncio.run(gated.wait.options(timeout=0.05).aio(gate))
        Path(gate).touch()
        assert gated.wait.options(timeout=30)(gate) == "open"
        with pytest.raises(InvalidOptionError, match="timeout"):
            gated.wait.options(timeout=0)

    @needs(Capability.PROCESSES)
    def test_a_killed_service_is_gone_and_its_name_free(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        os.kill(counter.pid(), signal.SIGKILL)
        with pytest.raises(ServiceDiedError, match="counter"):
            counter.add()
        assert services.list() == []
        assert "counter" not in services
        assert services.register("counter", Counter).add() == 1
        with pytest.raises(ServiceDiedError):
            counter.add()

    @needs(Capability.PROCESSES)
    def test_a_call_under_way_ends_when_its_service_is_killed(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        gated = services.register("gated", Gated, max_concurrency=2)
        pid = services.describe("gated").pid
        assert pid is not None
        future = gated.wait.submit(str(tmp_path / "never"))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ServiceDiedError):
            future.result(30)

    # -- ending ----------------------------------------------------------------------------------

    def test_a_service_is_closed_before_it_ends(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        marks = [tmp_path / "first", tmp_path / "second"]
        for number, mark in enumerate(marks):
            services.register(f"counter-{number}", Counter, mark=str(mark))
        services.unregister("counter-0")
        assert marks[0].read_text() == "closed"
        services.reset()
        assert marks[1].read_text() == "closed"

    def test_after_unregister_the_name_is_free_and_the_handle_dead(
        self, services: ServiceBase
    ) -> None:
        old = services.register("counter", Counter, 5)
        services.unregister("counter")
        with pytest.raises(ServiceDiedError):
            old.add()
        new = services.register("counter", Counter)
        assert new.add() == 1
        assert new != old
        with pytest.raises(ServiceDiedError):
            old.add()

    @needs(Capability.PROCESSES)
    def test_reset_ends_every_process(self, services: ServiceBase) -> None:
        pids = [services.register(f"counter-{n}", Counter).pid() for n in range(3)]
        assert len({*pids, os.getpid()}) == 4
        services.reset()
        assert services.list() == []
        assert eventually(lambda: not any(map(is_running, pids)))

    def test_reset_of_an_empty_namespace_does_nothing(self, services: ServiceBase) -> None:
        services.reset()
        services.reset()
        assert services.list() == []

    def test_the_context_manager_ends_the_services(self, open_registry: OpenRegistry) -> None:
        with open_registry("within") as services:
            services.register("counter", Counter)
        assert open_registry("within").list() == []
        with pytest.raises(RegistryClosedError):
            services.list()

    def test_close_leaves_the_services_running(self, open_registry: OpenRegistry) -> None:
        keeper, services = open_registry("kept"), open_registry("kept")
        services.register("counter", Counter)
        services.close()
        services.close()
        assert keeper["counter"].add() == 1
        with pytest.raises(RegistryClosedError):
            services.get("counter")

    def test_namespaces_dont_see_each_other(self, open_registry: OpenRegistry) -> None:
        training, evaluation = open_registry("training"), open_registry("evaluation")
        training.register("counter", Counter, 10)
        assert evaluation.list() == []
        evaluation.register("counter", Counter, 20)
        assert (training["counter"].add(), evaluation["counter"].add()) == (11, 21)
        evaluation.reset()
        assert training.list() == ["counter"]

    # -- handles and registries as values --------------------------------------------------------

    def test_handles_compare_by_the_service_that_they_name(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        other = services.register("other", Counter)
        assert counter == services["counter"]
        assert hash(counter) == hash(services["counter"])
        assert counter != other
        assert counter != "counter"
        again = pickle.loads(pickle.dumps(counter))
        assert again == counter
        assert again.add() == 1

    def test_a_registry_pickles(self, services: ServiceBase) -> None:
        services.register("counter", Counter)
        again = pickle.loads(pickle.dumps(services))
        assert again.list() == ["counter"]
        again.close()

    def test_a_method_that_the_class_doesnt_have_raises_at_once(
        self, services: ServiceBase
    ) -> None:
        counter = services.register("counter", Counter)
        with pytest.raises(AttributeError, match=r"subtract.*add"):
            counter.subtract
        with pytest.raises(AttributeError):
            counter._mark
        assert "add" in dir(counter)
        with pytest.raises(TypeError, match="not callable"):
            counter()

    def test_generator_methods_give_iterators(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        assert list(counter.upto(3)) == [0, 1, 2]
        with pytest.raises(TypeError, match="iterator"):
            counter.upto.submit(3)

        async def collect() -> list[int]:
            return [number async for number in counter.upto.aio(3)]

        assert asyncio.run(collect()) == [0, 1, 2]
        first = next(iter(counter.upto(1000)))
        assert first == 0
        assert counter.add() == 1

    def test_coroutine_methods_are_called_like_any_other(self, services: ServiceBase) -> None:
        counter = services.register("counter", AsyncCounter)
        assert counter.twice(4) == 8
        assert asyncio.run(counter.twice.aio(4)) == 8
        assert list(counter.upto(3)) == [0, 1, 2]

    def test_a_service_may_be_called_from_many_threads(self, services: ServiceBase) -> None:
        counter = services.register("counter", Counter)
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(lambda _: counter.add(), range(80))) == list(range(1, 81))

    def test_describe_tells_what_runs(self, services: ServiceBase) -> None:
        services.register("counter", Counter, num_cpus=0)
        info = services.describe("counter")
        assert info.name == "counter"
        assert info.namespace == "conformance"
        assert info.backend == services.backend
        assert info.class_name == "services_core.testing.samples.Counter"
        assert info.state == "running"
        assert info.pid == services["counter"].pid()
        assert info.started_at is not None
        assert info.options == {"num_cpus": 0}

    def test_repr_tells_live_status(self, services: ServiceBase) -> None:
        assert "0 services" in repr(services)
        counter = services.register("counter", Counter)
        assert "1 services" in repr(services)
        assert "counter" in repr(counter)
        assert "add" in repr(counter.add)


def _use_counter(services: ServiceBase) -> tuple[list[str], int]:
    found = services.list()
    return found, services["counter"].add(2)


def _register_counter(services: ServiceBase) -> None:
    services.register("counter", Counter)


def _add_two(counter: Handle) -> int:
    result = counter.add(2)
    assert isinstance(result, int)
    return result
