"""The conformance suite fails on backends that break a promise, and can't be thinned out."""

from __future__ import annotations

import pytest

from services_core.testing import Capability, RegistryConformance

pytest_plugins = ["pytester"]

MODULE = """
import pytest
from services_core.testing import RegistryConformance
from {module} import {backend}

class TestBroken(RegistryConformance):
    @pytest.fixture
    def open_registry(self):
        opened = []
        def open_one(namespace):
            opened.append({backend}(namespace))
            return opened[-1]
        yield open_one
        for services in opened:
            try:
                services.shutdown()
            except Exception:
                services.close()
"""

BROKEN = '''
import threading
import time
from services_core import InlineService, ServiceExistsError, ServiceOptions
from dataclasses import replace


class Overwrites(InlineService):
    """Register takes a name that is taken."""

    def _start(self, spec):
        self._stop(spec.name)
        return super()._start(spec)


class Races(InlineService):
    """Between the look whether a name is free and taking it, others look too."""

    def _start(self, spec):
        from services_core import inline

        if spec.name in self._names(starting=True):
            raise ServiceExistsError(spec.name, self.namespace)
        time.sleep(0.05)
        while True:
            with inline._lock:
                inline._namespaces.get(self.namespace, {}).pop(spec.name, None)
            try:
                return super()._start(spec)
            except ServiceExistsError:
                continue


class Remembers(InlineService):
    """What was once found is found for ever."""

    found = {}

    def _connect(self, name):
        connection = super()._connect(name)
        if connection is not None:
            self.found[self.namespace, name] = connection
        return self.found.get((self.namespace, name))


class Lies(InlineService):
    """Names are seen while their constructor runs."""

    def _names(self, *, starting=False):
        return super()._names(starting=True)


class Swallows(InlineService):
    """max_concurrency does nothing."""

    def _start(self, spec):
        return super()._start(replace(spec, options=replace(spec.options, max_concurrency=16)))


class IgnoresOptions(InlineService):
    """Options are dropped on the way to the service."""

    def _start(self, spec):
        return super()._start(replace(spec, options=ServiceOptions(replicas=spec.options.replicas)))


class ShowsEarly(InlineService):
    """A service is seen as soon as it is constructed, its other replicas or not."""

    def _start(self, spec):
        construction = super()._start(spec)

        class Early(type(construction)):
            def wait(self):
                super().wait()
                super().publish()

        construction.__class__ = Early
        return construction


class KeepsClaims(InlineService):
    """A name whose service never came up stays taken."""

    def _start(self, spec):
        construction = super()._start(spec)

        class Claim(type(construction)):
            def abandon(self):
                pass

        construction.__class__ = Claim
        return construction


class NeverCloses(InlineService):
    """Services are dropped without their close()."""

    def _stop(self, name):
        from services_core import inline

        with inline._lock:
            return inline._namespaces.get(self.namespace, {}).pop(name, None) is not None


class LosesTracebacks(InlineService):
    """A constructor's failure is told without its traceback."""

    def _start(self, spec):
        from services_core import ServiceStartError

        class Silent(type(construction := super()._start(spec))):
            def wait(self):
                try:
                    super().wait()
                except ServiceStartError as error:
                    raise ServiceStartError(spec.name, error.reason) from None

        construction.__class__ = Silent
        return construction


class Mixes(InlineService):
    """All namespaces are one."""

    def __init__(self, namespace="services"):
        super().__init__("conformance")
'''


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is installed here has no part in the inner runs, and may take a second in each."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.mark.parametrize(
    ("backend", "failing"),
    [
        ("Overwrites", "test_a_taken_name_is_refused_and_its_service_unharmed"),
        ("Races", "test_of_many_registrations_of_a_name_one_wins"),
        ("Remembers", "test_it_lists_its_services_sorted"),
        ("IgnoresOptions", "test_describe_tells_what_runs"),
        ("ShowsEarly", "test_all_replicas_are_seen_at_once_or_none"),
        ("KeepsClaims", "test_a_constructor_that_raises_fails_the_registration"),
        ("Lies", "test_a_name_is_reserved_while_its_constructor_runs"),
        ("Swallows", "test_one_call_runs_at_a_time_by_default"),
        ("NeverCloses", "test_a_service_is_closed_before_it_ends"),
        ("LosesTracebacks", "test_a_constructor_that_raises_fails_the_registration"),
        ("Mixes", "test_namespaces_dont_see_each_other"),
    ],
)
def test_a_broken_backend_fails_the_test_of_its_promise(
    pytester: pytest.Pytester, backend: str, failing: str
) -> None:
    pytester.makepyfile(broken_backends=BROKEN)
    pytester.makepyfile(MODULE.format(module="broken_backends", backend=backend))
    result = pytester.runpytest_inprocess("-q", "-k", failing)
    result.assert_outcomes(failed=1, deselected=result.parseoutcomes()["deselected"])


def test_a_sound_backend_passes_the_same_module(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(MODULE.format(module="services_core", backend="InlineService"))
    outcomes = pytester.runpytest_inprocess("-q").parseoutcomes()
    assert set(outcomes) == {"passed"}


def test_overriding_a_test_is_refused() -> None:
    with pytest.raises(TypeError, match="test_close_leaves_the_services_running"):
        type(
            "Thinned",
            (RegistryConformance,),
            {"test_close_leaves_the_services_running": lambda _self: None},
        )


def test_deleting_a_test_is_refused() -> None:
    with pytest.raises(TypeError, match="test_close_leaves"):
        type(
            "Thinned",
            (RegistryConformance,),
            {"test_close_leaves_the_services_running": None},
        )


def test_a_test_is_collected_only_with_its_capabilities() -> None:
    class Without(RegistryConformance):
        pass

    class Again(Without):
        pass

    class With(Without):
        capabilities = frozenset(Capability)

    name = "test_reset_ends_every_process"
    for lacking in (Without, Again):
        assert not callable(getattr(lacking, name))
    assert getattr(With, name) is getattr(RegistryConformance, name)


def test_deleting_a_test_that_was_left_out_before_is_refused() -> None:
    class Without(RegistryConformance):
        pass

    with pytest.raises(TypeError, match="test_reset_ends_every_process"):
        type("Thinned", (Without,), {"test_reset_ends_every_process": None})
