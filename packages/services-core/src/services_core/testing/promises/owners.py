"""Owners publish a client, and stay whose they are."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from services_core.errors import NotAClientError, ServiceExistsError, ServiceStartError
from services_core.registry import ServiceBase
from services_core.testing.capabilities import Capability
from services_core.testing.observing import eventually
from services_core.testing.promises.basis import Promises, needs
from services_core.testing.samples import Address, Counter, Server


class Owners(Promises):
    """Owners publish a client, and stay whose they are."""

    @pytest.fixture
    def server(self) -> Iterator[Server]:
        """An owner that runs."""
        server = Server().start()
        yield server
        server.shutdown()

    def test_every_worker_finds_the_client_of_an_owner(
        self, services: ServiceBase, server: Server
    ) -> None:
        assert services.register("server", server) == server.client()
        assert services.list() == ["server"]
        assert "server" in services
        assert services["server"] == services.get_client("server") == server.client()
        assert services.wait_for("server") == server.client()
        assert self.run_in_worker(_find_client, services) == server.client().url
        with pytest.raises(ServiceExistsError):
            services.register("server", Counter)
        services.reset()
        assert services.list() == []
        assert server.is_alive

    def test_an_owner_that_ends_is_not_found_any_more(
        self, services: ServiceBase, server: Server
    ) -> None:
        services.register("server", server)
        server.shutdown()
        assert eventually(lambda: services.list() == [])
        server.start()
        assert services.register("server", server) == server.client()
        services.unregister("server")
        assert server.is_alive

    def test_what_is_no_running_owner_is_refused(self, services: ServiceBase) -> None:
        with pytest.raises(ServiceStartError, match=r"start\(\)"):
            services.register("server", Server())
        with pytest.raises(TypeError, match="no arguments"):
            services.register("server", Server().start(), num_cpus=1)  # type: ignore[call-overload]
        assert services.list() == []
        services.register("counter", Counter)
        with pytest.raises(NotAClientError):
            services.get_client("counter")

    @needs(Capability.PROCESSES)
    def test_an_owner_whose_process_dies_is_not_found_any_more(
        self, services: ServiceBase, tmp_path: Path
    ) -> None:
        found = tmp_path / "found"
        with contextlib.suppress(Exception):  # what a backend says of a worker that dies is its own
            self.run_in_worker(_publish_and_die, services, str(found))
        assert found.read_text() == "['server']"
        assert eventually(lambda: services.list() == [])
        assert services.register("server", Counter).add() == 1


def _find_client(services: ServiceBase) -> str:
    client = services.get_client("server")
    assert isinstance(client, Address)
    return client.url


def _publish_and_die(services: ServiceBase, found: str) -> None:
    services.register("server", Server().start())
    Path(found).write_text(str(services.list()))
    os.kill(os.getpid(), signal.SIGKILL)
