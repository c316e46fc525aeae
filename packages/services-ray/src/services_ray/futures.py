"""One `concurrent.futures.Future` for whatever Ray's `.remote()` returns."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

import ray


def future_of(reference: Any) -> concurrent.futures.Future[Any]:
    """A future of the value.

    Args:
        reference: One reference; several (`num_returns=2`), whose values come as a list; or None
            (`num_returns=0`).
    """
    if isinstance(reference, ray.ObjectRef):
        return reference.future()
    if reference:
        return _gathered([each.future() for each in reference])
    nothing: concurrent.futures.Future[Any] = concurrent.futures.Future()
    nothing.set_result(None)
    return nothing


def _gathered(
    futures: list[concurrent.futures.Future[Any]],
) -> concurrent.futures.Future[list[Any]]:
    whole: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()
    left = len(futures)
    lock = threading.Lock()

    def count(_: concurrent.futures.Future[Any]) -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        try:
            whole.set_result([future.result() for future in futures])
        except BaseException as error:  # noqa: BLE001 - the method's, whatever it is
            whole.set_exception(error)

    for future in futures:
        future.add_done_callback(count)
    return whole
