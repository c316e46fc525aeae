"""Starting a service and ending it: blocks of which the start alone is timed."""

from __future__ import annotations

import time

from _timing import Block

from _registry.contestants import RaySide, new_name
from _registry.peers import raw_connection
from _registry.service import Echo
from services_core import ServiceBase


def start_of_ours(services: ServiceBase) -> Block:
    """`register`, which returns when the service is constructed."""

    def block() -> list[float]:
        name = new_name()
        start = time.perf_counter()
        services.register(name, Echo, num_cpus=0)
        seconds = time.perf_counter() - start
        services.unregister(name)
        return [seconds]

    return block


def start_of_connection() -> list[float]:
    """A spawned process, and a connection to it."""
    start = time.perf_counter()
    with raw_connection():
        return [time.perf_counter() - start]


def start_of_actor(side: RaySide) -> Block:
    """A named actor of raw Ray that answers `__ray_ready__`."""

    def block() -> list[float]:
        name = new_name()
        start = time.perf_counter()
        actor = side.actor_class.options(name=name, num_cpus=0).remote()
        side.ray.get(actor.__ray_ready__.remote())
        seconds = time.perf_counter() - start
        side.ray.kill(actor)
        return [seconds]

    return block


def start_of_torchrl(side: RaySide) -> Block:
    """TorchRL's `register`, which returns at once, and the first call."""
    torchrl = side.torchrl
    assert torchrl is not None

    def block() -> list[float]:
        name = new_name()
        start = time.perf_counter()
        actor = torchrl.register(name, Echo, num_cpus=0)
        side.ray.get(actor.ping.remote(1))
        seconds = time.perf_counter() - start
        side.ray.kill(actor)
        return [seconds]

    return block
