import os
import subprocess
import sys
from pathlib import Path

import pytest

import confine
from elsewhere import Elsewhere, elsewhere


@pytest.fixture
def as_user() -> list[str]:
    """What to put before a command to run it as an ordinary user, perhaps the one that we are."""
    return [sys.executable, confine.__file__, "--user"]


def output(command: list[str], place: Elsewhere) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=place.environment, cwd=place.home
    )
    return done.stdout.strip()


def test_the_users_own_folders_are_its_own_and_go_with_what_it_leaves(as_user: list[str]) -> None:
    with elsewhere() as place:
        place.open_up()
        script = (
            'cd "$HOME" && mkdir -p "$TMPDIR/a/b" && touch x "$TMPDIR/a/b/y" && chmod 0 x && ls'
        )
        assert output([*as_user, "sh", "-c", script], place) == "x"
    assert not place.folder.exists()


def test_what_is_opened_up_can_be_read_and_not_written(as_user: list[str]) -> None:
    with elsewhere() as place:
        secret = place.folder / "workspace"
        secret.mkdir(mode=0o700)
        (secret / "file").write_text("text")
        (secret / "file").chmod(0o600)
        place.open_up()
        assert output([*as_user, "cat", str(secret / "file")], place) == "text"
        assert (secret / "file").stat().st_mode & 0o777 == 0o644


def test_an_interpreter_is_found_for_everybody(as_user: list[str]) -> None:
    with elsewhere() as place:
        python = place.python_for_all(Path(sys.executable))
        place.open_up()
        code = "import encodings, sys; print(sys.version); print(sys.prefix, encodings.__file__)"
        found = output([*as_user, str(python), "-I", "-c", code], place)
    assert found.startswith(sys.version)


def test_a_copied_interpreter_uses_its_own_library_alone(as_user: list[str]) -> None:
    with elsewhere() as place:
        copy = place.copy_python(os.path.realpath(sys.executable))
        place.open_up()
        code = (
            "import json, math, sys; print(sys.version)\n"
            "for line in open('/proc/self/maps'):\n"
            "    if 'libpython' in line: print(line.split()[-1])\n"
            "print(sys.prefix, json.__file__, sep='\\n')"
        )
        found = output([*as_user, str(copy), "-I", "-c", code], place)
    assert found.startswith(sys.version)
    paths = found.removeprefix(sys.version).split()
    assert len(paths) >= 2
    assert all(Path(path).is_relative_to(place.folder) for path in paths)


def test_nothing_of_our_environment_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    with elsewhere() as place:
        assert "API_KEY" not in place.environment
        assert "/root" not in place.environment["PATH"]
