import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import confine
from confine import CONTAINER_CAPABILITIES, MACHINES, UID, filter_without_namespaces

ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root can give up what root has")

# What a confined process sees of itself; 0x10000000 is CLONE_NEWUSER.
LOOK = """
import ctypes, errno, json, os, threading
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
thread = threading.Thread(target=int)
thread.start()
thread.join()
status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
pid = os.fork()
if pid == 0:
    os._exit(0 if libc.unshare(0x10000000) == 0 else ctypes.get_errno())
answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps({"capabilities": status["CapEff"], "ids": os.getresuid(), "unshare": answer}))
"""


def seen(*options: str) -> dict[str, Any]:
    command = [sys.executable, confine.__file__, *options, sys.executable, "-I", "-c", LOOK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_without_namespaces_threads_and_forks_work_and_unshare_does_not() -> None:
    before = seen()
    after = seen("--no-namespaces")
    assert after["unshare"] == 1  # EPERM
    assert after["ids"] == before["ids"]


def test_a_filter_is_known_for_both_machines_of_the_sandbox() -> None:
    assert {filter_without_namespaces(machine)[:8] for machine in MACHINES} == {
        b"\x20\0\0\0\4\0\0\0"
    }
    assert len({filter_without_namespaces(machine) for machine in MACHINES}) == 2
    with pytest.raises(KeyError):
        filter_without_namespaces("vax")


@ROOT_ONLY
def test_root_keeps_what_a_container_gives_it_or_nothing() -> None:
    wanted = sum(1 << number for number in CONTAINER_CAPABILITIES.values())
    assert int(seen("--capabilities=container")["capabilities"], 16) & ~wanted == 0
    assert int(seen("--capabilities=none")["capabilities"], 16) == 0


@ROOT_ONLY
def test_an_ordinary_user_has_no_group_of_roots_and_cannot_come_back() -> None:
    command = [sys.executable, confine.__file__, "--user", "sh", "-c"]
    script = "id -ru; id -u; id -G; grep CapPrm /proc/self/status"
    done = subprocess.run([*command, script], capture_output=True, text=True, check=True)
    user, effective, groups, capabilities = done.stdout.splitlines()
    assert user == effective == groups == str(UID)
    assert int(capabilities.split()[1], 16) == 0


def test_the_command_takes_the_place_of_the_process() -> None:
    command = [sys.executable, confine.__file__, "sh", "-c", "exit 7"]
    assert subprocess.run(command, check=False, cwd=Path("/")).returncode == 7
