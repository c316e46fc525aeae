"""Sessions over several pools: which of them belong on one."""

from __future__ import annotations


def session_key(session: str) -> str:
    """Return what a session and its branches have in common: the name up to the first ``/``.

    A branch has to be where its source is. Where several pools are replicas of one service, a call
    with this key goes to that of the session, so use it for every call that names one.

    Args:
        session: its name.

    Example:
        >>> session_key("env-7"), session_key("env-7/branch-1"), session_key("env-7/branch-1/2")
        ('env-7', 'env-7', 'env-7')
    """
    return session.partition("/")[0]
