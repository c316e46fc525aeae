import json
from pathlib import Path

from tally import Tally, tally_of

SUITE = (
    '<testsuites><testsuite name="{name}" tests="9" failures="{failures}" errors="1" skipped="2"/>'
    "</testsuites>"
)


def report(folder: Path, **results: str) -> None:
    sessions = [
        {"signatures": [name, f"{name}-3.11"], "result": result, "duration": 1.5}
        for name, result in results.items()
    ]
    text = json.dumps({"result": 1, "sessions": sessions})
    (folder / "nox.json").write_text(text, encoding="utf-8")


def test_pytest_runs_add_up_and_errors_count_as_failures(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.xml").write_text(SUITE.format(name=name, failures=1), encoding="utf-8")
    report(tmp_path, a="failed", b="failed")
    total, lines = tally_of(tmp_path)
    assert total == Tally(10, 4, 4)
    assert str(total) == "10 passed, 4 failed, 4 skipped"
    assert lines[0] == "    1.5 s  failed    a: 5 passed, 2 failed, 2 skipped"


def test_a_session_that_crashed_without_a_failed_test_counts_as_a_failure(tmp_path: Path) -> None:
    report(tmp_path, lint="failed", tests="aborted", docs="success")
    assert str(tally_of(tmp_path)[0]) == "0 passed, 2 failed"


def test_a_skipped_session_counts_as_a_failure_because_none_is_meant_to(tmp_path: Path) -> None:
    report(tmp_path, wheels="skipped")
    assert tally_of(tmp_path)[0].failed == 1


def test_a_nox_that_died_before_it_reported_counts_as_a_failure(tmp_path: Path) -> None:
    (tmp_path / "push.json").write_text("", encoding="utf-8")
    (tmp_path / "ci.json").write_text('{"result": 1, "sessions": [{"args":', encoding="utf-8")
    assert tally_of(tmp_path)[0].failed == 2
