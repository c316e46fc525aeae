"""Environments as sessions of a shared service, which keeps their names from step to step."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from llm_transforms.execution import Programs, Results, SharedService, tell_what_is_lost
from python_executor import session_key
from services_core import Handle, ServiceBase, ServiceDiedError

# Sessions of a service that is reached without a handle, closed at the same time.
_THREADS = 32


class SharedSessions(SharedService):
    """Each environment is a session of the service, from its first program to its reset.

    A forked child is another collector, and has sessions of its own.

    Args:
        services: The registry that has the service.
        name: The service's name.
        close_registry: See `SharedService`.
        tells_outages: See `SharedService`.
    """

    needs = ("execute_batch", "close_session")

    def __init__(
        self,
        services: ServiceBase,
        name: str,
        *,
        close_registry: bool,
        tells_outages: bool = False,
    ) -> None:
        super().__init__(services, name, close_registry=close_registry, tells_outages=tells_outages)
        self._process = os.getpid()
        self._open: set[int] = set()  # environments that have a session, perhaps

    def run(self, programs: Programs) -> Results:
        """Run the programs of each environment one after the other, environments in parallel."""
        self._leave_to_parent()
        self._open |= programs.keys()
        results = super().run(
            {
                environment: [replace(each, session=self.name_of(environment)) for each in batch]
                for environment, batch in programs.items()
            }
        )
        tell_what_is_lost(results, self.begun)
        self.begun |= programs.keys()
        return results

    def reset(self, environments: Collection[int]) -> None:
        """Close the sessions of some environments, all at the same time."""
        self._leave_to_parent()
        ended = self._open.intersection(environments)
        # Until all are closed they are open: what raises can be tried again.
        self._close_sessions([self.name_of(environment) for environment in sorted(ended)])
        self._open -= ended
        self.begun.difference_update(environments)

    def close(self) -> None:
        """Close all sessions, and the registry if it is ours; the service runs on."""
        try:
            self.reset(self._open)
        finally:
            self._open.clear()
            super().close()

    def _close_sessions(self, names: Sequence[str]) -> None:
        if not names:
            return
        if not isinstance(self._service, Handle):
            with ThreadPoolExecutor(min(_THREADS, len(names))) as threads:
                list(threads.map(self._service.close_session, names))
            return
        futures: list[Future[bool]] = []
        for name in names:
            # A session whose service or replica died is closed.
            with suppress(ServiceDiedError):
                close = self._service.close_session.options(key=session_key(name))
                futures.append(close.submit(name))
        for future in futures:
            with suppress(ServiceDiedError):
                future.result()

    def _leave_to_parent(self) -> None:
        """In a forked child, have names of one's own: the sessions are the parent's."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._prefix = uuid.uuid4().hex
            self._open.clear()  # not those begun: the names of their programs are gone here
