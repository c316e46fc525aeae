"""What a program does to the descriptors that it has: its streams, and the protocol's socket."""

from __future__ import annotations

import pytest

from ._arena import Arena

CLOSED = {
    "all": "os.closerange(0, 4096)",
    "all, then exits": "os.closerange(0, 4096)\nos._exit(3)",
    "all, then crashes": "os.closerange(0, 4096)\nctypes.string_at(0)",
    "the protocol's": "os.close(control())",
    "one half of the protocol's": (
        "import socket\nsocket.socket(fileno=control()).shutdown(socket.SHUT_WR)"
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_closing_descriptors_hurts_the_program_alone(arena: Arena, name: str) -> None:
    result = arena.attack(f"print('kept', flush=True)\n{CLOSED[name]}")
    assert (result["status"], result["stdout"]) == ("crashed", "kept\n")


def test_closing_the_streams_is_a_programs_own_affair(arena: Arena) -> None:
    result = arena.attack("print('kept', flush=True)\nfor n in (0, 1, 2): os.close(n)\n42")
    assert (result["status"], result["stdout"], result["value"]) == ("ok", "kept\n", "42")


OVERWRITTEN = {
    "with /dev/null": "n = os.open('/dev/null', os.O_RDWR)",
    "with a pipe nobody reads": "r, n = os.pipe(); os.close(r)",
    "with a full pipe": (
        "r, n = os.pipe(); os.set_blocking(n, False)\n"
        "told(lambda: [os.write(n, bytes(4096)) for _ in range(99)])"
    ),
    "with stdout": "n = 1",
    "with stdin": "n = 0",
    "with a file": "n = os.open('f', os.O_RDWR | os.O_CREAT)",
}


@pytest.mark.parametrize("name", OVERWRITTEN)
def test_overwriting_descriptors_hurts_the_program_alone(arena: Arena, name: str) -> None:
    code = f"{OVERWRITTEN[name]}\nfor i in range(256):\n    if i != n: os.dup2(n, i)"
    result = arena.attack(code, timeout=0.5)
    assert result["status"] in ("crashed", "timeout")
    assert result["value"] is None


def test_the_protocols_socket_as_stdout_is_a_broken_protocol(arena: Arena) -> None:
    result = arena.attack("os.dup2(control(), 1)\nprint('hello' * 1000)")
    assert result["status"] == "crashed"
    assert result["error"] is not None
    assert "protocol" in result["error"]["message"]


def test_stdout_as_the_protocols_socket_is_text(arena: Arena) -> None:
    result = arena.attack("print('kept', flush=True)\nos.dup2(1, control())\n42", timeout=0.5)
    assert result["status"] in ("crashed", "timeout")
    assert result["stdout"].startswith("kept\n")


def test_a_program_can_not_read_what_the_host_reads(arena: Arena) -> None:
    code = """
def nothing(descriptor):
    os.set_blocking(descriptor, False)
    return told(os.read, descriptor, 99)
[nothing(number) for number in (control(), 1, 2)]
"""
    assert arena.seen(code) == ["EAGAIN", "EBADF", "EBADF"]


def test_pipes_that_do_not_block_or_are_tiny_lose_nothing_of_others(arena: Arena) -> None:
    code = """
import fcntl
os.set_blocking(1, False); os.set_blocking(control(), False)
small = told(fcntl.fcntl, 1, 1031, 4096)  # F_SETPIPE_SZ
large = told(fcntl.fcntl, 2, 1031, 2 ** 30)
written = told(lambda: [os.write(1, bytes(4096)) for _ in range(3)])
"""
    result = arena.attack(code)
    assert result["status"] in ("ok", "crashed")


def test_a_program_that_sets_flags_on_the_shared_pipe_does_not_block_the_host(arena: Arena) -> None:
    # O_NONBLOCK belongs to an open file, and the two ends of a pipe are two; O_DIRECT turns a pipe
    # into packets (pipe(2)).
    code = """
import fcntl
for descriptor in (1, 2, control()):
    told(fcntl.fcntl, descriptor, fcntl.F_SETFL, os.O_DIRECT | os.O_ASYNC | os.O_NOATIME)
    told(fcntl.fcntl, descriptor, fcntl.F_SETFL, 0)
for _ in range(100): os.write(1, b"x")
told(fcntl.fcntl, 1, fcntl.F_SETFL, os.O_DIRECT)
for _ in range(100): os.write(1, b"y")
"""
    result = arena.attack(code)
    assert (result["status"], result["stdout"]) == ("ok", "x" * 100 + "y" * 100)


def test_the_position_of_streams_is_not_shared(arena: Arena) -> None:
    code = """
[told(f) for f in (
    lambda: os.lseek(1, 0, os.SEEK_SET), lambda: os.ftruncate(1, 0), lambda: os.pwrite(1, b"x", 0),
    lambda: os.lseek(control(), 0, os.SEEK_SET),
)]
"""
    seen = arena.seen(code)
    assert all(name in ("ESPIPE", "EINVAL", "EPERM") for name in seen), seen


def test_descriptors_sent_to_the_host_do_not_pile_up_there(arena: Arena) -> None:
    code = """
import array, socket
sock = socket.socket(fileno=os.dup(control()))
sock.setblocking(False)
files = array.array("i", [os.open("/dev/null", os.O_RDONLY)] * 250)
sent = 0
try:
    while sent < 1000:
        # Half a header each, so that it is never a frame.
        sock.sendmsg([b"\\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        sent += 1
except OSError:
    pass
"""
    result = arena.attack(code)
    assert result["status"] in ("ok", "error", "crashed")


def test_a_program_that_does_not_read_its_protocol_is_served_anyway(arena: Arena) -> None:
    assert arena.attack("x = 1", stdin="x" * 10_000_000)["status"] == "ok"
    assert arena.attack("# " + "x" * 10_000_000 + "\nx = 1")["status"] == "ok"


def test_a_program_that_opens_all_it_may_hurts_itself_alone(arena: Arena) -> None:
    code = """
opened = []
try:
    while len(opened) < 100_000: opened.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    code = errno.errorcode[error.errno]
for number in opened: os.close(number)
code, len(opened) < 4096
"""
    assert arena.seen(code) == ("EMFILE", True)
    result = arena.attack(
        "while True:\n    try: os.open('/dev/null', os.O_RDONLY)\n    except OSError: break\nopen('x', 'w')"
    )
    assert result["error"] is not None
    assert (result["status"], result["error"]["type"]) == ("error", "OSError")


def test_nothing_is_sent_out_of_band_and_a_peer_is_not_told(arena: Arena) -> None:
    code = """
import socket
one, other = socket.socketpair()
host = socket.socket(fileno=os.dup(control()))
sent = [told(s.send, b"x", socket.MSG_OOB) for s in (one, host)]
got = [told(s.recv, 1, socket.MSG_OOB | socket.MSG_DONTWAIT) for s in (one, host)]
peers = [told(host.getsockopt, 1, option, 12) for option in (17, 77)]
one.send(b"in band")
sent, got, peers, other.recv(9), one.getsockopt(1, 3)
"""
    refused = ["EPERM"] * 2
    assert arena.seen(code) == (refused, ["ENOTSUP"] * 2, refused, b"in band", 1)
