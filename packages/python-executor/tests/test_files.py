"""Files that a program is given, and files that it makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from python_executor import Execution, PersistentPythonProcess, PythonExecutorService
from python_executor._child import files as child_files


def test_a_program_finds_its_files_in_its_working_directory(
    executor: PythonExecutorService,
) -> None:
    files = {"a.txt": b"first", "data/deep/b.bin": bytes(range(256)), "empty": b"", "ü/漢": b"name"}
    code = (
        "import os\n"
        "walk = os.walk('.')\n"
        "names = sorted(os.path.relpath(f'{d}/{name}') for d, _, names in walk for name in names)\n"
        "{name: open(name, 'rb').read() for name in names}"
    )
    result = executor.execute(code, files=files)
    assert result["value"] == repr(dict(sorted(files.items())))
    assert result["files"] == {}  # none was changed


def test_a_large_file_arrives_and_comes_back_whole(executor: PythonExecutorService) -> None:
    data = os.urandom(5 * 1024 * 1024 + 1)
    code = "import sys\ndata = open('in', 'rb').read()\nopen('out', 'wb').write(data)\nlen(data)"
    result = executor.execute(code, files={"in": data, "other": data[:100]})
    assert result["value"] == str(len(data))
    assert result["files"] == {"out": data}


def test_files_of_a_batch_stay_with_their_programs(executor: PythonExecutorService) -> None:
    code = "open('out', 'w').write(open('in').read() * 2)"
    programs = [Execution(code, files={"in": f"{i};".encode() * 1000}) for i in range(8)]
    results = executor.execute_batch(programs)
    assert [r["files"] for r in results] == [{"out": f"{i};".encode() * 2000} for i in range(8)]


MADE = """
import os
open("plain.txt", "w").write("1")
os.makedirs("sub/folder")
open("sub/folder/x.bin", "wb").write(bytes(3))
open("ü\\n.txt", "w").write("odd")
open("empty", "w")
open("with space", "w").write("s")
os.link("plain.txt", "linked.txt")
open(".hidden", "w").write("no")
os.makedirs(".cache/lib"); open(".cache/lib/fonts", "w").write("no")
os.symlink("/etc/passwd", "outside"); os.symlink("plain.txt", "inside"); os.symlink("sub", "folder")
os.mkfifo("fifo")
os.makedirs("none/at/all")
open("mine.py", "w").write("x = 1"); import mine
"""


def test_regular_files_come_out_and_nothing_else(executor: PythonExecutorService) -> None:
    result = executor.execute(MADE)
    assert result["files"] == {
        "plain.txt": b"1",
        "linked.txt": b"1",
        "sub/folder/x.bin": b"\0\0\0",
        "ü\n.txt": b"odd",
        "empty": b"",
        "with space": b"s",
        "mine.py": b"x = 1",
    }
    assert list(result["files"]) == sorted(result["files"])
    assert (result["status"], result["truncated"]) == ("ok", False)


@pytest.mark.parametrize(
    ("change", "comes_out"),
    [
        ("open('in').read()", None),
        ("open('in', 'w').write('OLD')", b"OLD"),  # as long as before, and in the same moment
        ("open('in', 'a').write('!')", b"old!"),
        ("open('in', 'w').write('')", b""),
        ("import mmap\nf = open('in', 'r+b'); m = mmap.mmap(f.fileno(), 0); m[0:1] = b'O'", b"Old"),
        ("import os; os.remove('in'); open('in', 'w').write('new')", b"new"),
        ("import os; os.remove('in')", None),
        ("import os; os.remove('in'); os.symlink('/etc/passwd', 'in')", None),
        ("import os; open('b', 'w').write('new'); os.replace('b', 'in')", b"new"),
        ("import os; os.chmod('in', 0o400)", None),
    ],
)
def test_a_given_file_comes_out_if_it_was_changed(
    executor: PythonExecutorService, change: str, comes_out: bytes | None
) -> None:
    result = executor.execute(change, files={"in": b"old", "other": b"x"})
    assert result["status"] == "ok"
    assert result["files"] == ({} if comes_out is None else {"in": comes_out})


@pytest.mark.parametrize("end", ["1 / 0", "import sys; sys.exit(3)", "import os; os.chdir('/')"])
def test_files_come_out_however_the_program_ends_by_itself(
    executor: PythonExecutorService, end: str
) -> None:
    assert executor.execute(f"open('a', 'w').write('x')\n{end}")["files"] == {"a": b"x"}


def test_files_that_exit_functions_and_threads_write_come_out(
    executor: PythonExecutorService,
) -> None:
    code = (
        "import atexit, threading, time\n"
        "def write(name):\n    time.sleep(0.02); open(name, 'w').write(name)\n"
        "atexit.register(write, 'late')\nthreading.Thread(target=write, args=['thread']).start()\n"
        "f = open('unclosed', 'w'); f.write('lost until closed'); f.flush()"
    )
    files = executor.execute(code)["files"]
    assert files == {"late": b"late", "thread": b"thread", "unclosed": b"lost until closed"}


@pytest.mark.parametrize("end", ["import os; os._exit(0)", "while True: pass"])
def test_a_program_that_was_ended_gives_no_files(executor: PythonExecutorService, end: str) -> None:
    result = executor.execute(f"open('a', 'w').write('x')\n{end}", timeout=0.5)
    assert result["status"] in ("crashed", "timeout")
    assert result["files"] == {}


def test_a_program_may_break_what_its_files_are_found_with(
    executor: PythonExecutorService,
) -> None:
    code = (
        "import binascii, builtins, os, stat\nopen('a', 'w').write('x')\n"
        "for module in (binascii, os, stat):\n    for name in list(vars(module)):\n"
        "        if not name.startswith('__'): setattr(module, name, None)\n"
        "builtins.sorted = builtins.len = builtins.open = builtins.hash = None"
    )
    result = executor.execute(code)
    assert (result["status"], result["files"]) == ("ok", {"a": b"x"})


def test_a_program_may_remove_its_directory(executor: PythonExecutorService) -> None:
    code = "import os, shutil; shutil.rmtree(os.getcwd()); 1"
    result = executor.execute(code, files={"in": b"x"})
    assert (result["value"], result["files"], result["truncated"]) == ("1", {}, False)


def test_what_exceeds_the_limit_is_left_out() -> None:
    code = (
        "for name, size in dict(a=600, b=600, c=300, d=200, e=0).items():\n"
        "    open(name, 'wb').write(bytes(size))"
    )
    with PythonExecutorService(pool_size=1, timeout=30.0, max_files=1000) as executor:
        result = executor.execute(code)
        sizes = {name: len(data) for name, data in result["files"].items()}
        assert sizes == {"a": 600, "c": 300, "e": 0}
        assert (result["status"], result["truncated"]) == ("ok", True)
        whole = executor.execute("open('a', 'wb').write(bytes(1000))")
        assert (len(whole["files"]["a"]), whole["truncated"]) == (1000, False)
        sparse = executor.execute("open('a', 'wb').truncate(10 ** 8)")
        assert (sparse["files"], sparse["truncated"]) == ({}, True)
    with PythonExecutorService(pool_size=1, timeout=30.0, max_files=0) as executor:
        result = executor.execute("open('a', 'w').write('x'); open('b', 'w')")
        assert (result["files"], result["truncated"]) == ({"b": b""}, True)


def test_more_files_than_a_result_holds_are_left_out(executor: PythonExecutorService) -> None:
    code = "for i in range({}):\n    open(f'{{i:05}}', 'w').close()"
    result = executor.execute(code.format(child_files.COUNT))
    assert (len(result["files"]), result["truncated"]) == (child_files.COUNT, False)
    result = executor.execute(code.format(child_files.COUNT + 1))
    assert list(result["files"]) == [f"{i:05}" for i in range(child_files.COUNT)]
    assert result["truncated"]
    many = executor.execute(code.format(child_files.ENTRIES + 1))
    assert (len(many["files"]), many["truncated"]) == (child_files.COUNT, True)


def test_names_that_a_host_could_not_use_are_left_out(executor: PythonExecutorService) -> None:
    code = (
        "import os\nopen(b'\\xff', 'w').close()\nopen('good', 'w').close()\n"
        "for _ in range(10):\n    os.mkdir('d' * 200); os.chdir('d' * 200)\n"
        "    open('f', 'w').close()"
    )
    result = executor.execute(code)
    assert len(result["files"]) == 1 + 5  # 5 * 201 + 1 bytes are the longest name
    assert "good" in result["files"]
    assert (result["status"], result["truncated"]) == ("ok", True)


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every file")
def test_a_file_that_cannot_be_read_is_left_out(trusting: PythonExecutorService) -> None:
    code = "import os\nopen('locked', 'w').write('x')\nos.chmod('locked', 0)"
    result = trusting.execute(code)
    assert (result["files"], result["truncated"]) == ({}, True)


def test_a_cell_gives_what_it_made(process: PersistentPythonProcess) -> None:
    first = process.execute("open('a', 'w').write('1'); open('b', 'w').write('1')")
    assert first["files"] == {"a": b"1", "b": b"1"}
    assert process.execute("open('a').read()")["files"] == {}
    # At once, and of the same length: the file's time alone would not tell.
    assert process.execute("open('a', 'w').write('2')")["files"] == {"a": b"2"}
    assert process.execute("open('a', 'w').write('3')")["files"] == {"a": b"3"}
    assert process.execute("import os; os.rename('a', 'c')")["files"] == {"c": b"3"}
    assert process.execute("os.mkdir('d'); os.chdir('d'); open('e', 'w')")["files"] == {"d/e": b""}
    assert process.execute("1 / 0")["files"] == {}
    given = process.execute("open('../a').read(), open('e').read()", files={"a": b"4", "d/e": b"5"})
    assert (given["value"], given["files"]) == ("('4', '5')", {})


def test_a_cell_is_given_files_beside_and_over_those_of_earlier_cells(
    process: PersistentPythonProcess,
) -> None:
    process.execute("import os\nopen('a', 'w').write('old'); os.link('a', 'b')")
    result = process.execute("open('a').read(), open('b').read()", files={"a": b"new", "s/c": b""})
    assert result["value"] == "('new', 'old')"  # another name of the old file keeps it
    assert process.execute("sorted(os.listdir('s'))", files={"s/d": b"x"})["value"] == "['c', 'd']"


OBSTACLES = {
    "symlink to a file": ("os.symlink({outside!r} + '/f', 'a')", "a", "'a' is a symbolic link"),
    "dangling symlink": ("os.symlink({outside!r} + '/new', 'a')", "a", "'a' is a symbolic link"),
    "symlink to a directory": ("os.symlink({outside!r}, 'a')", "a/f", "'a' is a symbolic link"),
    "deeper symlink": ("os.mkdir('a'); os.symlink({outside!r}, 'a/b')", "a/b/f", "'b' is a symbol"),
    "directory": ("os.makedirs('a/b')", "a", "'a' is a directory"),
    "file": ("open('a', 'w')", "a/b", "'a' is a file"),
    "fifo": ("os.mkfifo('a')", "a", "'a' is no file"),
    "fifo above": ("os.mkfifo('a')", "a/b", "'a' is no file"),
    "no directory": ("import shutil; shutil.rmtree(os.getcwd())", "a", "No such file"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_an_earlier_cell_left_in_the_way_is_an_error_and_nothing_is_written_outside(
    process: PersistentPythonProcess, tmp_path: Path, name: str
) -> None:
    (tmp_path / "f").write_text("outside")
    prepare, path, message = OBSTACLES[name]
    assert process.execute(f"import os\n{prepare.format(outside=str(tmp_path))}")["success"]
    files = {"0": b"first", path: b"x" * 700_000, "z": b"last"}
    result = process.execute("print('ran')", files=files)
    assert (result["status"], result["returncode"], result["stdout"]) == ("error", 1, "")
    assert result["error"] is not None
    assert result["error"]["type"] == "InputError"
    assert message in result["error"]["message"]
    assert [child.name for child in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "outside"
    after = process.execute("2")
    assert (after["value"], after["state"]) == ("2", "kept")


def test_input_reaches_a_cell_whatever_an_earlier_one_left(
    process: PersistentPythonProcess,
) -> None:
    code = "import os\nfor i in range(3): os.symlink('/nowhere', f'.stdin-{i}')\nos.open = None"
    process.execute(code)
    assert process.execute("input()", stdin="text")["value"] == "'text'"
    process.execute("import shutil; shutil.rmtree(os.getcwd(), ignore_errors=True)")
