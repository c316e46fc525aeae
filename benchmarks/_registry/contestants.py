"""Opens what takes part, and ends all of it.

A side is a backend of ours with its peers. Each contestant has a process of its own that serves
`Echo` under default options, but for CPUs, of which each asks for none.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from _ray import own_ray

from _registry.peers import Peer, bare_socket, raw_connection
from _registry.service import Echo
from services_core import ServiceBase, get_services

NAME = "echo"

# Two runs at the same time must not meet.
NAMESPACE = f"benchmark-{os.getpid()}"

INSTALL_TORCHRL = "python -m pip install torch==2.13.0 tensordict==0.14.3 torchrl==0.14.1"

_numbers = itertools.count(1)


def new_name() -> str:
    """A name that nobody had yet."""
    return f"{NAME}-{next(_numbers)}"


@dataclass(frozen=True)
class LocalSide:
    """The local backend, and what it is compared with.

    Attributes:
        services: Our registry.
        handle: Our handle of its service.
        connection: A service behind `multiprocessing.connection`.
        bare: One behind a bare socket.
        loop: Runs what is awaited.
    """

    services: ServiceBase
    handle: Any
    connection: Peer
    bare: Peer
    loop: asyncio.Runner

    @property
    def pids(self) -> list[int]:
        """The processes of the services."""
        ours = self.services.describe(NAME).pid
        assert ours is not None
        return [ours, self.connection.pid, self.bare.pid]


@dataclass(frozen=True)
class RaySide:
    """The Ray backend, and what it is compared with.

    Attributes:
        ray: The module.
        services: Our registry.
        handle: Our handle of its service.
        actor_class: The class as raw Ray has it.
        actor: Raw Ray's own actor, named `NAME`.
        torchrl: TorchRL's registry, if it is installed.
        loop: Runs what is awaited.
    """

    ray: Any
    services: ServiceBase
    handle: Any
    actor_class: Any
    actor: Any
    torchrl: Any | None
    loop: asyncio.Runner


@contextmanager
def local_side() -> Iterator[LocalSide]:
    """Open the local backend and its peers."""
    with ExitStack() as stack:
        services = stack.enter_context(get_services("local", NAMESPACE))
        yield LocalSide(
            services,
            services.register(NAME, Echo, num_cpus=0),
            stack.enter_context(raw_connection()),
            stack.enter_context(bare_socket()),
            stack.enter_context(asyncio.Runner()),
        )


@contextmanager
def ray_side(leave_out: Callable[[str], None]) -> Iterator[RaySide]:
    """Start a Ray of our own, open the Ray backend and its peers.

    Args:
        leave_out: Is told which peer isn't installed, and how to install it.
    """
    with ExitStack() as stack:
        ray = stack.enter_context(own_ray())
        services = stack.enter_context(get_services("ray", NAMESPACE))
        handle = services.register(NAME, Echo, num_cpus=0)
        actor_class: Any = ray.remote(Echo)
        actor = actor_class.options(name=NAME, num_cpus=0).remote()
        ray.get(actor.__ray_ready__.remote())
        torchrl = _torchrl(leave_out)
        if torchrl is not None:
            ray.get(torchrl.register(NAME, Echo, num_cpus=0).ping.remote(0))
        loop = stack.enter_context(asyncio.Runner())
        yield RaySide(ray, services, handle, actor_class, actor, torchrl, loop)


def _torchrl(leave_out: Callable[[str], None]) -> Any | None:
    """TorchRL's registry; by name, because type checks run where it isn't installed."""
    try:
        module: Any = importlib.import_module("torchrl.services")
    except ImportError as error:
        leave_out(f"TorchRL ({error}). To have it: {INSTALL_TORCHRL}")
        return None
    return module.RayService(namespace=f"{NAMESPACE}-torchrl")
