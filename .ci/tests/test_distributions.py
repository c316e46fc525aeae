import tarfile
import zipfile
from pathlib import Path

import pytest

from distributions import defects_of
from workspace import Package, Workspace

METADATA = (
    "Metadata-Version: 2.4\nName: a\nLicense-Expression: MIT\n{requires}\n\nWhat it is for.\n"
)
ENTRY_POINTS = "[services_core.backends]\nplain = a:Plain\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    source = tmp_path / "a" / "src" / "a"
    source.mkdir(parents=True)
    for name in ("__init__.py", "py.typed"):
        (source / name).touch()
    project = {
        "name": "a",
        "version": "1.0.0",
        "entry-points": {"services_core.backends": {"plain": "a:Plain"}},
    }
    return Workspace({"a": Package(tmp_path / "a", project, {}, everywhere=True)})


def build(folder: Path, *, requires: str = "", **changes: str | None) -> None:
    """Write a wheel and an sdist by hand; `py_typed=None` leaves a file out, a text replaces it."""
    whole: dict[str, str | None] = {
        "a/__init__.py": "",
        "a/py.typed": "",
        "a-1.0.0.dist-info/licenses/LICENSE": "MIT",
        "a-1.0.0.dist-info/METADATA": METADATA.format(requires=requires),
        "a-1.0.0.dist-info/entry_points.txt": ENTRY_POINTS,
    }
    files = whole | changes
    with zipfile.ZipFile(folder / "a-1.0.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            if text is not None:
                wheel.writestr(name, text)
    with tarfile.open(folder / "a-1.0.0.tar.gz", "w:gz") as sdist:
        for name in ("pyproject.toml", "README.md", "LICENSE", "src/a/py.typed"):
            sdist.addfile(tarfile.TarInfo(f"a-1.0.0/{name}"))


def test_whole_distributions_have_no_defect(workspace: Workspace, tmp_path: Path) -> None:
    build(tmp_path, requires="Requires-Dist: a>=1,<2 ; extra == 'more'")
    assert defects_of(workspace, tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "defect"),
    [
        ({"a/py.typed": None}, "lacks a/py.typed"),
        ({"a/__init__.py": None}, "lacks a/__init__.py"),
        ({"a/left_over.py": ""}, "holds a/left_over.py, which the sources don't"),
        ({"a-1.0.0.dist-info/licenses/LICENSE": None}, "lacks a-1.0.0.dist-info/licenses/LICENSE"),
        ({"a-1.0.0.dist-info/entry_points.txt": None}, "has the entry points {}, not"),
        ({"requires": "Requires-Dist: a==1.0.0"}, "requires a==1.0.0: a sibling takes a floor"),
    ],
)
def test_a_defect_is_named(
    workspace: Workspace, tmp_path: Path, changes: dict[str, str | None], defect: str
) -> None:
    requires = changes.pop("requires", None) or ""
    build(tmp_path, requires=requires, **changes)
    (found,) = defects_of(workspace, tmp_path)
    assert found.startswith(f"a-1.0.0-py3-none-any.whl: {defect}")


def test_a_distribution_that_was_not_built_is_said_so(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `nox -s build`"):
        defects_of(workspace, tmp_path)
