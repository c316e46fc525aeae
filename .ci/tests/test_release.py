import re
from pathlib import Path

import pytest

from release import ReleaseError, check_changelog, check_siblings, package_of
from workspace import Package, Workspace, read_workspace


@pytest.fixture
def workspace() -> Workspace:
    return read_workspace()


def core(workspace: Workspace) -> Package:
    return workspace.packages["services-core"]


def test_a_tag_names_its_package_and_version(workspace: Workspace) -> None:
    package = core(workspace)
    assert package_of(f"{package.name}-v{package.version}", workspace) is package


@pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("services-core", "a tag is <package>-vX.Y.Z"),
        ("services-core-v1.2", "a tag is <package>-vX.Y.Z"),
        ("no-such-package-v1.2.3", "the packages are"),
        ("services-core-v99.0.0", "pyproject.toml of services-core says"),
    ],
)
def test_a_wrong_tag_is_refused_with_the_reason(
    workspace: Workspace, tag: str, reason: str
) -> None:
    with pytest.raises(ReleaseError, match=re.escape(reason)):
        package_of(tag, workspace)


def test_a_version_without_a_section_in_the_changelog_is_refused(tmp_path: Path) -> None:
    package = Package(tmp_path, {"name": "a", "version": "1.2.3"}, {}, everywhere=True)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("## [Unreleased]\n\n## [1.2.30]\n", encoding="utf-8")
    with pytest.raises(ReleaseError, match=re.escape("no section [1.2.3]")):
        check_changelog("a-v1.2.3", package)
    changelog.write_text("## [Unreleased]\n\n## [1.2.3] - 2026-11-23\n", encoding="utf-8")
    check_changelog("a-v1.2.3", package)


def test_a_dependent_is_refused_until_its_base_is_released(workspace: Workspace) -> None:
    package = workspace.packages["services-local"]
    asked: list[str] = []

    def is_released(requirement: str) -> bool:
        asked.append(requirement)
        return len(asked) > 1

    with pytest.raises(ReleaseError, match="release services-core first"):
        check_siblings("services-local-v0.1.0", package, workspace, is_released)
    check_siblings("services-local-v0.1.0", package, workspace, is_released)
    assert all(requirement.startswith("services-core>=") for requirement in asked)


def test_the_siblings_of_extras_are_asked_for_too(workspace: Workspace) -> None:
    package = workspace.packages["llm-transforms"]
    with pytest.raises(ReleaseError, match="release services-ray first"):
        check_siblings("t", package, workspace, lambda item: not item.startswith("services-ray"))
