"""Add up the pytest runs of several nox runs and print one line: `N passed, N failed`.

Usage: `python .ci/tally.py FOLDER`. The folder holds the JUnit files of the pytest runs (`*.xml`)
and the reports of the nox runs (`nox --report`, `*.json`). A session that failed without a failed
test (lint, a crash, a pytest that could not start) counts as one failure, so the line can't look
better than the run was. Exits with 1 if anything failed or nothing ran.
"""

import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tally:
    """How many tests passed, failed (errors included) and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
        )

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def tally_of_junit(path: Path) -> dict[str, Tally]:
    """Count the tests of one JUnit file by the name of its suite, which is the nox session's."""
    suites: dict[str, Tally] = {}
    for suite in ET.parse(path).getroot().iter("testsuite"):  # noqa: S314 our own pytest wrote it
        skipped = int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        # A test whose teardown fails after its body did counts twice in pytest's own sums.
        passed = max(0, int(suite.get("tests", 0)) - failed - skipped)
        suites[str(suite.get("name"))] = Tally(passed, failed, skipped)
    return suites


def sessions_of_report(path: Path) -> dict[str, tuple[str, float]]:
    """Read the result and the seconds of every session of a nox report.

    A nox that died before it could report leaves an empty or broken one: a failed session.
    """
    try:
        sessions = json.loads(path.read_text(encoding="utf-8"))["sessions"]
    except json.JSONDecodeError:
        return {f"nox ({path.name} can't be read)": ("failed", 0.0)}
    return {s["signatures"][0]: (s["result"], s["duration"]) for s in sessions}


def tally_of(folder: Path) -> tuple[Tally, list[str]]:
    """Add up a folder.

    Returns:
        The sum, and a line for every session: its result, its tests and its seconds.
    """
    suites: dict[str, Tally] = {}
    for path in sorted(folder.glob("*.xml")):
        suites |= tally_of_junit(path)
    total = sum(suites.values(), Tally())
    lines = []
    for path in sorted(folder.glob("*.json")):
        for session, (result, seconds) in sessions_of_report(path).items():
            tests = suites.get(session, Tally())
            if result != "success" and not tests.failed:
                total += Tally(failed=1)
            lines.append(f"{seconds:7.1f} s  {result:8}  {session}: {tests}")
    return total, lines


def main() -> None:
    """Print the sessions and the sum of the folder named on the command line."""
    total, lines = tally_of(Path(sys.argv[1]))
    print(*lines, sep="\n")
    print(total)
    raise SystemExit(0 if total.passed and not total.failed else 1)


if __name__ == "__main__":
    main()
