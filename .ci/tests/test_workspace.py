from pathlib import Path

import pytest

from workspace import Workspace, read_workspace, requirement_name

ROOT_TABLE = '[tool.uv.workspace]\nmembers = ["packages/*"]\n'
MEMBER = """
[project]
name = "{name}"
version = "1.0.0"
classifiers = [
    "Programming Language :: Python :: 3 :: Only",
    "Programming Language :: Python :: 3.{minor}",
]
dependencies = {dependencies}
[project.optional-dependencies]
more = {more}
[project.entry-points."services_core.backends"]
{backends}
[dependency-groups]
test = {test}
"""


def member(root: Path, name: str, **fields: object) -> None:
    defaults: dict[str, object] = {
        "dependencies": [],
        "more": [],
        "test": [],
        "backends": "",
        "minor": 11,
    }
    folder = root / "packages" / name
    folder.mkdir(parents=True)
    text = MEMBER.format(name=name, **(defaults | fields))
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


@pytest.fixture
def made_up(tmp_path: Path) -> Workspace:
    (tmp_path / "pyproject.toml").write_text(ROOT_TABLE, encoding="utf-8")
    member(tmp_path, "a-top", dependencies=["base[more] >=1"], test=["pool"], minor=9)
    member(tmp_path, "base", more=["extra>=1"], backends='plain = "base:Plain"')
    member(tmp_path, "extra", minor=12)
    member(tmp_path, "far", dependencies=["Base"], backends='far = "far:Far"', minor=10)
    member(tmp_path, "pool")
    return read_workspace(tmp_path)


def test_packages_come_after_what_they_depend_on(made_up: Workspace) -> None:
    assert list(made_up.packages) == ["base", "extra", "pool", "far", "a-top"]


def test_an_environment_holds_what_is_declared_directly_or_not(made_up: Workspace) -> None:
    assert made_up.installed_with("a-top", tests=False) == {"a-top", "base", "extra"}
    assert made_up.installed_with("a-top", tests=True) == {"a-top", "base", "extra", "pool"}
    assert made_up.installed_with("far", tests=False) == {"far", "base"}


def test_an_environment_of_a_backend_leaves_out_the_other_backends(made_up: Workspace) -> None:
    plain = [package.name for package in made_up.for_backend("plain")]
    assert plain == ["base", "extra", "pool", "a-top"]
    assert "far" in [package.name for package in made_up.for_backend("far")]
    with pytest.raises(KeyError, match="there are"):
        made_up.for_backend("nowhere")


def test_pythons_are_sorted_by_number_not_by_letter(made_up: Workspace) -> None:
    assert made_up.pythons == ["3.9", "3.10", "3.11", "3.12"]


@pytest.mark.parametrize(
    ("requirement", "name"),
    [("Ray[core]>=2", "ray"), ("services_core >=0.1", "services-core"), (" a.b;x", "a-b")],
)
def test_a_requirement_starts_with_its_name(requirement: str, name: str) -> None:
    assert requirement_name(requirement) == name


def test_every_member_of_this_workspace_is_typed_licensed_and_described() -> None:
    for package in read_workspace().packages.values():
        for file in ("README.md", "CHANGELOG.md", "LICENSE", f"src/{package.module}/py.typed"):
            assert (package.path / file).is_file(), f"{package.name} has no {file}"
