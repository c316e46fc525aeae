"""The conformance suite fails on backends of processes that break a promise.

They are the backend of the page "Write your own backend" with one mistake each. Mistakes that a
backend of one process can make too are in `test_conformance_suite`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

MODULE = """
import os, shutil, signal, sys, tempfile
import pytest
from services_core.testing import Capability, RegistryConformance
from services_core.testing.observing import eventually

sys.path.insert(0, {path!r})
from broken_processes import {backend}, leaked

class TestBroken(RegistryConformance):
    capabilities = frozenset({{Capability.PROCESSES}})

    @pytest.fixture
    def open_registry(self, monkeypatch):
        monkeypatch.setattr(eventually, "__defaults__", ({patience},))
        root = tempfile.mkdtemp(prefix="own-")
        opened = []
        def open_one(namespace):
            opened.append({backend}(namespace, directory=root))
            return opened[-1]
        yield open_one
        for services in opened:
            services.shutdown()
        for pid in leaked:
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(root)
"""

BROKEN = '''
from own_backend import SqliteService
from own_backend.client import SqliteConnection
from services_core import ServiceExistsError

leaked = []


class Leaks(SqliteService):
    """What is ended is forgotten, and its process runs on."""

    def _stop(self, name):
        record = self._directory.find(namespace=self.namespace, name=name)
        if record is None:
            return False
        leaked.append(record.pid)
        self._directory.forget(record)
        return True


class TakesClaims(SqliteService):
    """A name is free until its service is published."""

    def _start(self, spec):
        while True:
            try:
                return super()._start(spec)
            except ServiceExistsError:
                record = self._directory.find(namespace=self.namespace, name=spec.name)
                if record is not None and record.started_at is not None:
                    raise
                if record is not None:
                    self._directory.forget(record)


class ListsTheDead(SqliteService):
    """What has a row is listed, whether it lives or not."""

    def _names(self, *, starting=False):
        with self._directory._rows() as rows:
            return [name for (name,) in rows.execute("SELECT name FROM services")]


class Published(SqliteService):
    """Does something with the connections that register makes."""

    def _start(self, spec):
        construction = super()._start(spec)
        publish = construction.publish
        construction.publish = lambda: self._published(spec.name, publish())
        return construction


class FindsTheDead(Published):
    """`in` and `get` trust the connection that register made."""

    def __init__(self, namespace, *, directory):
        super().__init__(namespace, directory=directory)
        self._made = {}

    def _published(self, name, connection):
        return self._made.setdefault(name, connection)

    def _connect(self, name):
        return self._made.get(name) or super()._connect(name)


class LosesTracebacks(Published):
    """A method's exception arrives without what led to it."""

    def _published(self, name, connection):
        connection.__class__ = Silent
        return connection


class Silent(SqliteConnection):
    def _ask(self, *args):
        try:
            return super()._ask(*args)
        except Exception as error:
            raise error from None
'''

PROMISES = {
    "Leaks": "test_reset_ends_every_process",
    "TakesClaims": "test_of_many_workers_that_register_a_name_one_wins",
    "ListsTheDead": "test_a_killed_service_is_gone_and_its_name_free",
    "FindsTheDead": "test_a_killed_service_is_gone_and_its_name_free",
    "LosesTracebacks": "test_it_brings_the_remote_traceback",
}


@pytest.fixture(autouse=True)
def _no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is installed here has no part in the inner runs, and may take a second in each."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.mark.parametrize("backend", PROMISES)
def test_a_broken_backend_fails_the_test_of_its_promise(
    pytester: pytest.Pytester, backend: str
) -> None:
    # What the suite waits for doesn't come.
    result = _run(pytester, backend, PROMISES[backend], patience=1.0)
    result.assert_outcomes(failed=1, deselected=result.parseoutcomes()["deselected"])


def test_the_sound_one_passes_them(pytester: pytest.Pytester) -> None:
    outcomes = _run(pytester, "SqliteService", " or ".join(PROMISES.values()), 30.0).parseoutcomes()
    assert set(outcomes) == {"passed", "deselected"}
    assert outcomes["passed"] == len(set(PROMISES.values()))


def _run(pytester: pytest.Pytester, backend: str, tests: str, patience: float) -> pytest.RunResult:
    pytester.makepyfile(broken_processes=BROKEN)
    path = Path(__file__).parents[3] / "examples" / "services"
    pytester.makepyfile(MODULE.format(path=str(path), backend=backend, patience=patience))
    return pytester.runpytest_inprocess("-q", "-k", tests)
