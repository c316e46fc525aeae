"""What a service that can't be had is to the model, where it is not to be an error."""

from __future__ import annotations

from llm_transforms.results.outcomes import crashed, rejected
from python_executor import (
    ExecutionResult,
    ForkServerError,
    PoolClosedError,
    PoolSaturatedError,
)
from services_core import ServiceDiedError, ServiceTimeoutError

OUTAGES = (
    ServiceDiedError,
    ServiceTimeoutError,
    ForkServerError,
    PoolClosedError,
    PoolSaturatedError,
)
"""Errors of a service that was there and isn't now, or has no room; not mistakes of its caller."""


def outage(error: Exception) -> ExecutionResult:
    """Return the result of each program of a step whose service can't be had.

    Args:
        error: One of `OUTAGES`.
    """
    if isinstance(error, PoolSaturatedError):
        refused = rejected("All interpreters are busy, so this was not run. Try again later.")
        return {**refused, "state": "kept"}  # names are what they were
    if isinstance(error, ServiceDiedError) and error.restarting:
        message = "The interpreters went down and are being restarted. Try again."
    else:
        message = "The interpreters can't be reached now. Try again later."
    return crashed(message)
