"""Execute thousands of mixed programs and prove that nothing is left or grows.

    python benchmarks/soak.py
    python benchmarks/soak.py --executions 3000 --callers 8 --seed 7

Several callers share one pool. Their programs succeed, fail, flood, loop, crash, exit, write files,
take memory, and are cancelled; in the first half servers are killed now and then. A census is taken
when it is warm, when the kills are over, and at the end, each time with all interpreters idle:
memory must not have grown, and descriptors, processes, threads and files must be as many as before.
Each result is checked too. Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from _soak.census import ALLOWED, MIB, Census, adopt_orphans, names, take_census
from _soak.kinds import DISK, FLOOD, KEPT, KINDS, MEMORY, REFUSED
from _soak.storm import Storm
from python_executor import PythonExecutorService, SandboxPolicy

# Executions until the host is warm: its allocator grows for a while.
WARM_UP = 1000
# Parts of all others: with kills, until the last servers are warm, and without.
PARTS = {"storm": 0.45, "settling": 0.1, "calm": 0.45}
# The censuses after them.
CENSUSES = {"warm-up": "warm", "settling": "calm", "calm": "end"}
# How long all interpreters may take to be ready (seconds).
PATIENCE = 30.0
# What the servers are is known only after the kills: theirs is compared from there on.
OF_SERVERS = ("root_resident", "slot_resident")


def rest(executor: PythonExecutorService, temporary: Path) -> Census:
    """Use every interpreter once, wait until the next ones are ready, and count.

    Raises:
        TimeoutError: They don't come, or something else is there.
    """
    size = executor.info()["pool_size"]
    deadline = time.monotonic() + PATIENCE
    # A server that was killed is noticed when its slot is used; all at once, all slots are.
    sleepers = ["import time; time.sleep(0.2)"] * size
    while not all(result["success"] for result in executor.execute_batch(sleepers)):
        if time.monotonic() > deadline:
            raise TimeoutError("programs do not succeed, and no server is killed any more")
    last = None
    while True:
        census = take_census(executor.info()["server"], temporary)
        settled = last is not None and (census.files, census.processes) == last
        # A root, and for each slot a server and an interpreter.
        if (settled and census.processes == 1 + 2 * size) or time.monotonic() > deadline:
            return census
        last = census.files, census.processes
        time.sleep(0.1)


def grown(before: Census, after: Census, name: str) -> str:
    """What is wrong with a figure; empty if nothing is."""
    first, last = getattr(before, name), getattr(after, name)
    if name in ALLOWED:
        return f"more than {ALLOWED[name] // MIB} MiB more" if last > first + ALLOWED[name] else ""
    return "" if last == first else "not the same"


def shown(name: str, value: int) -> str:
    """A figure in print."""
    return f"{value / MIB:.2f} MiB" if name in ALLOWED else str(value)


def print_censuses(censuses: Mapping[str, Census]) -> int:
    """Print the table; returns how many figures are wrong."""
    warm, calm, end, closed, before = (
        censuses[name] for name in ("warm", "calm", "end", "closed", "before")
    )
    print(f"\n{'':20}" + "".join(f"{name:>14}" for name in censuses))
    wrong = 0
    for name in names():
        defect = grown(calm if name in OF_SERVERS else warm, end, name)
        if not defect and name not in ALLOWED:
            defect = grown(before, closed, name)
        wrong += bool(defect)
        cells = "".join(f"{shown(name, getattr(each, name)):>14}" for each in censuses.values())
        print(f"{name.replace('_', ' '):20}{cells}  {defect}")
    return wrong


def print_kinds(storm: Storm) -> None:
    """Print what came of each kind of program."""
    print(f"\n{'':32}{'times':>8}{'p50':>12}  statuses")
    for name, tally in sorted(storm.tallies.items()):
        count, p50 = sum(tally.statuses.values()), statistics.median(tally.seconds)
        statuses = ", ".join(f"{status} {n}" for status, n in tally.statuses.most_common())
        note = f" ({tally.disturbed} by a killed server)" if tally.disturbed else ""
        print(f"{name:32}{count:8}{p50 * 1e3:9.2f} ms  {statuses}{note}")
    kills = ", ".join(f"{count} {name}s" for name, count in storm.kills.items())
    print(f"\nKilled: {kills or 'nothing'}")


def soak(options: argparse.Namespace, temporary: Path) -> int:
    """Run it all in a folder for temporary files; returns how much is wrong."""
    tempfile.tempdir = str(temporary)
    adopt_orphans()
    censuses = {"before": take_census(None, temporary)}
    rest_of_all = max(0, options.executions - WARM_UP)
    phases = {"warm-up": WARM_UP} | {name: int(rest_of_all * part) for name, part in PARTS.items()}
    begin = time.monotonic()
    open_to_all = options.sandbox == "off"
    policy = SandboxPolicy(memory=MEMORY, disk=DISK, strict=options.sandbox == "strict")
    with PythonExecutorService(
        options.pool_size,
        60.0,
        sandbox="off" if open_to_all else policy,
        max_output=KEPT,
        max_total_output=FLOOD,
    ) as executor:
        kinds = KINDS if open_to_all else KINDS + REFUSED
        storm = Storm(executor, options.callers, options.seed, kinds)
        for phase, executions in phases.items():
            since = time.monotonic()
            storm.blow(executions, kills=phase in ("warm-up", "storm"))
            rate = executions / (time.monotonic() - since)
            print(f"{phase}: {executions} executions, {rate:.0f} a second", flush=True)
            if name := CENSUSES.get(phase):
                censuses[name] = rest(executor, temporary)
        stats = executor.stats()
    censuses["closed"] = take_census(None, temporary)
    print_kinds(storm)
    wrong = print_censuses(censuses)
    for complaint in storm.complaints:
        print(complaint)
    restarts, seconds = stats["restarts"], time.monotonic() - begin
    print(
        f"\n{stats['executions']} executions in {seconds:.0f} s, {restarts} servers replaced, "
        f"{storm.wrong} results and {wrong} figures wrong"
    )
    return wrong + storm.wrong


def main(arguments: list[str] | None = None) -> int:
    """Soak and print; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="soak.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--executions", type=int, default=20_000, help="default: %(default)s")
    parser.add_argument("--callers", type=int, default=6, help="threads (default: %(default)s)")
    parser.add_argument(
        "--sandbox", choices=["auto", "strict", "off"], default="auto", help="default: %(default)s"
    )
    parser.add_argument("--pool-size", type=int, default=8, help="default: %(default)s")
    parser.add_argument(
        "--seed",
        type=int,
        default=int.from_bytes(os.urandom(4)),
        help="of what is drawn, to repeat a run (default: another one each time)",
    )
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return 1 if soak(options, Path(folder)) else 0
