"""``python-executor run``: a program's output and exit status, and all that it can be given."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from python_executor.cli import main

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program of that text; further arguments go to the command."""

    def call(code: str, *arguments: str) -> int:
        path = tmp_path / "program.py"
        path.write_text(code)
        return main(["run", *arguments, str(path)])

    return call


def test_output_and_exit_status_are_the_programs_own(
    run: Run, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    code = (
        "import sys\nsys.stdout.buffer.write(bytes(range(256)))\n"
        "sys.stderr.buffer.write(b'\\xff')\nsys.exit(3)"
    )
    assert run(code) == 3
    assert tuple(capfdbinary.readouterr()) == (bytes(range(256)), b"\xff")


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("1", 0, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139, "signal 11"),
        ("import os; os._exit(7)", 7, "status 7"),
        ("while True: pass", 137, "longer than 0.3 s"),
        ("while True: print('x' * 1000)", 137, "OutputLimitError"),
        ("import sys; sys.exit('no')", 1, ""),
    ],
)
def test_how_a_program_ended_is_told_if_it_could_not_tell(
    code: str, status: int, told: str, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    timeout = "0.3" if "pass" in code else "30"
    assert run(code, "--timeout", timeout, "--max-output", "100k") == status
    ours = [e for e in capfd.readouterr().err.splitlines() if e.startswith("python-executor: ")]
    assert len(ours) == bool(told)
    assert told in "".join(ours)


def test_a_program_comes_from_standard_input_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "python_executor", "run", "-"],
        input="print(6 * 7)",
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_input_files_and_products(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "answers").write_text("dé\n")
    (tmp_path / "a.csv").write_bytes(b"1,2")
    out = tmp_path / "new" / "out"
    status = run(
        "import os\nos.mkdir('sub')\nopen('.cache', 'w').write('x')\n"
        "open('sub/b', 'w').write(input() + open('data/in.csv').read())",
        *("--stdin", str(tmp_path / "answers")),
        *("--file", f"data/in.csv={tmp_path / 'a.csv'}"),
        *("--out", str(out)),
    )
    assert status == 0
    assert capfd.readouterr().err == ""
    assert [str(path.relative_to(out)) for path in out.rglob("*")] == ["sub", "sub/b"]
    assert (out / "sub" / "b").read_text() == "dé1,2"


def test_a_folder_with_something_in_it_is_no_place_for_products(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("print('ran')", "--out", str(tmp_path)) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == f"python-executor: --out {tmp_path}: the folder must be new or empty\n"


def test_the_result_as_json_is_all_of_it(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    code = "open('a', 'wb').write(b'\\xff')\nprint('x' * 2_000_000)\n6 * 7"
    assert run(code, "--json") == 0
    result = json.loads(capfd.readouterr().out)
    assert result["stdout"] == "x" * 2_000_000 + "\n"
    assert (result["status"], result["value"], result["truncated"]) == ("ok", "42", False)
    assert base64.b64decode(result["files"]["a"]) == b"\xff"


@pytest.mark.parametrize(
    ("code", "arguments", "granted"),
    [
        ("open(r'{folder}/secret').read()", [], False),
        ("open(r'{folder}/secret').read()", ["--read", "{folder}"], True),
        ("open(r'{folder}/secret', 'a').write('x')", ["--read", "{folder}"], False),
        ("open(r'{folder}/secret', 'a').write('x')", ["--write", "{folder}"], True),
        ("import socket; socket.socket()", [], False),
        ("import socket; socket.socket()", ["--network"], True),
        ("import os; os.fork() or os._exit(0)", [], False),
        ("import os; os.fork() or os._exit(0)", ["--processes", "4"], True),
        ("x = bytearray(400_000_000)", [], True),
        ("x = bytearray(400_000_000)", ["--memory", "200M"], False),
        ("x = bytearray(400_000_000)", ["--sandbox", "tight"], False),
        ("open(r'{folder}/secret').read()", ["--sandbox", "off"], True),
    ],
)
def test_a_program_may_do_what_it_is_granted(
    code: str, arguments: list[str], granted: bool, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)  # slots may run as other users
    (folder / "secret").touch()
    (folder / "secret").chmod(0o666)
    filled = [argument.format(folder=folder) for argument in arguments]
    assert (run(code.format(folder=folder), *filled) == 0) == granted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no-such-file"], "can't read no-such-file: No such file"),
        (["run", "-", "--stdin", "-"], "can't both come from standard input"),
        (["run", "{program}", "--file", "a.csv"], "NAME=PATH is expected"),
        (["run", "{program}", "--file", "a.csv=no-such-file"], "can't read no-such-file"),
        (["run", "{program}", "--file", "../a={program}"], "holds '..'"),
        (["run", "{program}", "--network", "--sandbox", "off"], "--network has no effect"),
        (["run", "{program}", "--read", "/no-such-folder"], "read must be paths of what exists"),
        (["run", "{program}", "--python", "no-such-python"], "can't be started"),
        (["run", "{latin}"], "as text"),
        (["run", "{program}", "--stdin", "{latin}"], "as text"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program, latin = tmp_path / "program.py", tmp_path / "latin"
    program.write_text("print('ran')")
    latin.write_bytes(b"'\xe9'")
    assert main([each.format(program=program, latin=latin) for each in arguments]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("python-executor: ")
    assert message in line


ENDLESS = "import itertools\nfor n in itertools.count(): print(n)"


def started(code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "python_executor", "run", "--timeout", "60", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(code)
    process.stdin.close()
    process.stdin = None
    return process


def test_output_comes_while_the_program_runs_and_ctrl_c_ends_it() -> None:
    with started("print('begun')\nwhile True: pass") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert (process.returncode, err) == (130, "")


def test_a_reader_that_leaves_ends_it() -> None:
    with started(ENDLESS) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 141
