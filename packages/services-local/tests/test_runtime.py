"""The directory in which processes meet is private, or it is refused."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
from pathlib import Path

import pytest

from services_core import get_services
from services_local import RuntimeDirectoryError
from services_local.runtime import RuntimeDirectory


def test_it_is_made_private(runtime_dir: Path) -> None:
    runtime = RuntimeDirectory.open(str(runtime_dir / "new"))
    assert stat.S_IMODE(runtime.root.stat().st_mode) == 0o700
    assert len(runtime.key()) == 32
    assert runtime.key() == RuntimeDirectory.open(str(runtime.root)).key()
    assert stat.S_IMODE((runtime.root / "key").stat().st_mode) == 0o600
    for name in ("key", "mutex"):
        (runtime.root / name).unlink()
    runtime.root.rmdir()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707, 0o777])
def test_one_that_others_may_enter_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(RuntimeDirectoryError, match="others may enter"):
        get_services(backend="local", runtime_dir=str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_one_of_somebody_else_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(RuntimeDirectoryError, match="belongs to user 12345"):
        get_services(backend="local", runtime_dir=str(tmp_path))


def test_a_link_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(RuntimeDirectoryError, match="link"):
        get_services(backend="local", runtime_dir=str(tmp_path / "link"))


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeDirectoryError, match="too long"):
        get_services(backend="local", runtime_dir=str(tmp_path / ("x" * 100)))


def test_a_pickled_registry_opens_the_same_directory_elsewhere(
    runtime_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(runtime_dir.parent)
    with get_services(backend="local", runtime_dir=runtime_dir.name) as services:
        monkeypatch.chdir(tmp_path)
        again = pickle.loads(pickle.dumps(services))
        assert again._runtime.root == runtime_dir
        again.close()


def test_in_a_directory_that_was_removed_nothing_is_found(runtime_dir: Path) -> None:
    services = get_services(backend="local", runtime_dir=str(runtime_dir / "r"))
    shutil.rmtree(runtime_dir / "r")
    assert services.list() == []
    assert "counter" not in services
    services.reset()
    services.close()
