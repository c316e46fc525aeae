"""One execution as the host sees it, with the test in the place of server and interpreter."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from python_executor._frames import run_frame
from python_executor._run import Limits, Run
from python_executor._slot import Ends, Slot

BODY = b'{"kind":"started"}'
STARTED = len(BODY).to_bytes(4, "big") + BODY


class NoRoot(NamedTuple):
    pid: int = 0
    directory: str = "/nonexistent"
    hidden: bool = True
    resident: int = 0


class Stage:
    """A slot with a run that has just begun, and the far ends of its sockets."""

    def __init__(self) -> None:
        ours, self.server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.closing = os.eventfd(0)
        self.slot = Slot(0, self.closing)
        self.slot.attach(ours, NoRoot())
        _, descriptors, _, _ = socket.recv_fds(self.server, 4096, 3)
        self.ends = Ends(*descriptors)
        frame = run_frame("1", name="<program>", stdin=None, cell=False, limit=9)
        self.run = Run(self.slot, frame, 30.0, Limits(1000, 1000), self.closing)
        self.run.start()

    def step_to_the_end(self) -> str:
        while self.run.ending is None:
            self.run.step(0.01)
        return self.run.ending.kind

    def close(self) -> None:
        self.server.close()
        self.ends.close()
        self.slot.close()
        os.close(self.closing)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.mark.parametrize("way", ["the server is gone", "the interpreter is gone", "it is stopped"])
def test_what_is_to_run_elsewhere_cannot_begin_here_any_more(
    stage: Stage, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "the server is gone":
        stage.server.shutdown(socket.SHUT_RDWR)
    elif way == "the interpreter is gone":
        stage.server.send(b'{"kind":"exited","generation":1,"returncode":-9}')
    else:
        monkeypatch.setattr("python_executor._slot.is_stopped", lambda pid: True)
    assert stage.step_to_the_end() == "unstarted"
    with pytest.raises(BrokenPipeError):
        os.write(stage.ends.control, STARTED)


def test_what_has_begun_at_the_last_moment_does_not_run_elsewhere(stage: Stage) -> None:
    os.write(stage.ends.control, STARTED)
    stage.run._stop(None)  # as if it had been written just after the last look
    assert stage.step_to_the_end() == "crashed"
