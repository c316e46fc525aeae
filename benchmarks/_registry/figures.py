"""What is timed, against whom, and which ratio is the target."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from _figures import Against, Figure
from _timing import Block, times_of

from _registry.contestants import NAME, LocalSide, RaySide
from _registry.placing import cores_to_choose, placed
from _registry.starts import start_of_actor, start_of_connection, start_of_ours, start_of_torchrl

MEGABYTES = 64
OUTSTANDING = 128
THREADS = 8

PACE = 0.02
PACED = "20 ms apart"

OURS_LOCAL = "ours, local"
OURS_RAY = "ours, Ray"
TORCHRL = "TorchRL"
RAW_RAY = "raw Ray"
CONNECTION = "raw Listener"
BARE = "bare round trip"

WHERE = ["anywhere", "both on one core", "on a core each"]


def lookups(local: LocalSide | None, ray: RaySide | None) -> Figure:
    """A name that was looked up before, in a row and now and then."""
    calls: dict[str, Callable[[], object]] = {}
    if local is not None:
        of_local = local.services
        calls[OURS_LOCAL] = lambda: of_local[NAME]
    if ray is not None:
        of_ray, get_actor = ray.services, ray.ray.get_actor
        calls[OURS_RAY] = lambda: of_ray[NAME]
        calls[RAW_RAY] = lambda: get_actor(NAME)
        if (torchrl := ray.torchrl) is not None:
            calls[TORCHRL] = lambda: torchrl.get(NAME)
    blocks: dict[str, Block] = {}
    for name, call in calls.items():
        blocks[name] = partial(times_of, call, 30)
        # What remembers an answer for some milliseconds gains nothing here.
        blocks[f"{name}, {PACED}"] = partial(times_of, call, 5, PACE)
    comparisons = [
        Against(OURS_LOCAL, TORCHRL, 0.1),
        Against(OURS_RAY, TORCHRL, 0.1),
        Against(OURS_RAY, RAW_RAY),
    ]
    comparisons += [
        Against(f"{ours}, {PACED}", f"{TORCHRL}, {PACED}") for ours in (OURS_LOCAL, OURS_RAY)
    ]
    return Figure("Lookup of a name, repeated", blocks, comparisons)


def registers(local: LocalSide | None, ray: RaySide | None) -> Figure:
    """A service from nothing to usable; its end isn't timed."""
    process, actor, torchrl = (
        "raw process, connected",
        f"{RAW_RAY}, __ray_ready__",
        f"{TORCHRL}, first call",
    )
    blocks: dict[str, Block] = {}
    if local is not None:
        blocks[OURS_LOCAL] = start_of_ours(local.services)
        blocks[process] = start_of_connection
    if ray is not None:
        blocks[OURS_RAY] = start_of_ours(ray.services)
        blocks[actor] = start_of_actor(ray)
        if ray.torchrl is not None:
            blocks[torchrl] = start_of_torchrl(ray)
    comparisons = [
        Against(OURS_LOCAL, process),
        Against(OURS_RAY, actor),
        Against(OURS_RAY, torchrl),
    ]
    title = "Register: the start of a service until it can be used"
    return Figure(title, blocks, comparisons, second="slowest", warm_up=False, every=4)


def ray_calls(ray: RaySide) -> Figure:
    """A call through a handle on Ray, in its four forms."""
    ours, raw, get, run = ray.handle, ray.actor, ray.ray.get, ray.loop.run
    count = 30
    blocks: dict[str, Block] = {
        "ours, blocking": lambda: times_of(lambda: ours.ping(1), count),
        "raw, ray.get": lambda: times_of(lambda: get(raw.ping.remote(1)), count),
        "ours, .remote and ray.get": lambda: times_of(lambda: get(ours.ping.remote(1)), count),
        "ours, await .aio": lambda: run(_awaited(lambda: ours.ping.aio(1), count)),
        "raw, await ref": lambda: run(_awaited(lambda: raw.ping.remote(1), count)),
        "ours, .submit and result": lambda: times_of(lambda: ours.ping.submit(1).result(), count),
        "raw, ref.future() and result": lambda: times_of(
            lambda: raw.ping.remote(1).future().result(), count
        ),
    }
    comparisons = [
        Against("ours, blocking", "raw, ray.get", 1.15),
        Against("ours, .remote and ray.get", "raw, ray.get", 1.15),
        Against("ours, await .aio", "raw, await ref", 1.15),
        Against("ours, .submit and result", "raw, ref.future() and result", 1.3),
    ]
    return Figure("Call through a handle on Ray", blocks, comparisons)


def local_calls(local: LocalSide, cores: int) -> Figure:
    """A call through a handle of the local backend, beside the same transport."""
    ours, run = local.handle, local.loop.run
    connection, bare = local.connection.call, local.bare.call
    count = 200
    blocks: dict[str, Block] = {
        "ours, blocking": lambda: times_of(lambda: ours.ping(1), count),
        BARE: lambda: times_of(lambda: bare("ping", 1), count),
        CONNECTION: lambda: times_of(lambda: connection("ping", 1), count),
        "ours, .submit and result": lambda: times_of(lambda: ours.ping.submit(1).result(), count),
        "ours, await .aio": lambda: run(_awaited(lambda: ours.ping.aio(1), count)),
    }
    comparisons = [
        Against("ours, blocking", BARE, 2.0),
        Against("ours, blocking", CONNECTION),
        Against("ours, blocking", 1e-4, 1.0),
        Against("ours, .submit and result", BARE),
        Against("ours, await .aio", BARE),
        Against(CONNECTION, BARE),
    ]
    where = WHERE[cores if cores <= len(cores_to_choose()) else 0]
    title = f"Call through a handle of the local backend, caller and service {where}"
    return Figure(title, placed(blocks, local.pids, cores), comparisons)


def outstanding(local: LocalSide | None, ray: RaySide | None) -> Figure:
    """Many calls under way at the same time, from one thread."""
    blocks: dict[str, Block] = {}
    if local is not None:
        of_local = local.handle
        blocks[OURS_LOCAL] = lambda: times_of(lambda: _submitted(of_local), 2)
    if ray is not None:
        of_ray, raw, get = ray.handle, ray.actor, ray.ray.get
        blocks[OURS_RAY] = lambda: times_of(lambda: _submitted(of_ray), 2)
        blocks[f"{RAW_RAY}, ref.future()"] = lambda: times_of(lambda: _futures(raw), 2)
        blocks[f"{RAW_RAY}, ray.get"] = lambda: times_of(
            lambda: get([raw.ping.remote(value) for value in range(OUTSTANDING)]), 2
        )
    comparisons = [
        Against(OURS_LOCAL, f"{RAW_RAY}, ray.get"),
        Against(OURS_RAY, f"{RAW_RAY}, ref.future()"),
        Against(OURS_RAY, f"{RAW_RAY}, ray.get"),
    ]
    return Figure(f"{OUTSTANDING} calls submitted, then all waited for", blocks, comparisons)


def local_threads(local: LocalSide) -> Figure:
    """Threads that share a handle; the time is that of a call in the sum of all threads."""
    ours = local.handle
    calls = 800

    def sharing(threads: int) -> list[float]:
        share = calls // threads
        with ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter()
            for _ in pool.map(lambda _: times_of(lambda: ours.ping(1), share), range(threads)):
                pass
            return [(time.perf_counter() - start) / calls]

    one, many = "1 thread", f"{THREADS} threads"
    free: dict[str, Block] = {one: lambda: sharing(1), many: lambda: sharing(THREADS)}
    on_one_core = {f"{name}, one core": block for name, block in free.items()}
    blocks = free | placed(on_one_core, local.pids, cores=1)
    comparisons = [
        Against(many, one, 1.0),
        # The steadier of the two, without a target: eight bare sockets lose a tenth there as well.
        Against(f"{many}, one core", f"{one}, one core"),
    ]
    title = "Threads that share a handle of the local backend, wall time by number of calls"
    return Figure(title, blocks, comparisons, second="a second")


def local_arrays(local: LocalSide) -> Figure:
    """A large array as an argument and as a result, beside one copy of it in memory."""
    import numpy as np  # only here, and the caller has looked whether it is there

    ours, connection = local.handle, local.connection.call
    size = MEGABYTES * 2**20
    array = np.ones(size, dtype=np.uint8)
    count = 3
    blocks: dict[str, Block] = {
        "array.copy()": lambda: times_of(array.copy, count),
        "ours, argument": lambda: times_of(lambda: ours.take(array), count),
        "ours, result": lambda: times_of(lambda: ours.give(size), count),
        f"{CONNECTION}, argument": lambda: times_of(lambda: connection("take", array), count),
        f"{CONNECTION}, result": lambda: times_of(lambda: connection("give", size), count),
    }
    comparisons = [
        Against("ours, argument", "array.copy()", 1.5),
        Against("ours, argument", f"{CONNECTION}, argument"),
        Against("ours, result", "array.copy()"),
        Against("ours, result", f"{CONNECTION}, result"),
    ]
    return Figure(f"{MEGABYTES} MB array, local backend", blocks, comparisons, every=2)


def local_kept_arrays(local: LocalSide) -> Figure:
    """A large array as an argument that the service keeps: its memory is new each time."""
    import numpy as np  # as above

    array = np.ones(MEGABYTES * 2**20, dtype=np.uint8)
    kept: deque[Any] = deque(maxlen=8)
    count = 3
    blocks: dict[str, Block] = {
        "array.copy()": lambda: times_of(lambda: kept.append(array.copy()), count),
        "ours, argument": lambda: times_of(lambda: local.handle.keep(array), count),
    }
    comparisons = [Against("ours, argument", "array.copy()", 1.5)]
    title = f"{MEGABYTES} MB array that is kept, the last eight of them, local backend"
    return Figure(title, blocks, comparisons, every=2)


async def _awaited(call: Callable[[], Awaitable[object]], count: int) -> list[float]:
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        await call()
        times.append((time.perf_counter_ns() - start) / 1e9)
    return times


def _submitted(handle: Any) -> None:
    for future in [handle.ping.submit(value) for value in range(OUTSTANDING)]:
        future.result()


def _futures(actor: Any) -> None:
    for future in [actor.ping.remote(value).future() for value in range(OUTSTANDING)]:
        future.result()
