"""Check that a tag may be released: `python .ci/release.py TAG`.

The tag is `<package>-vX.Y.Z`. Its version must be the package's, the changelog must have a section
for it, and for every sibling that the package requires a release that satisfies the requirement
must be out already: base before dependents, or an installation would fail until the base follows.
Prints the name of the package, and nothing else, on stdout.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from workspace import Package, Workspace, read_workspace, requirement_name


class ReleaseError(ValueError):
    """A tag that must not be released, and why.

    Attributes:
        tag: The tag.
        reason: What is wrong and what to do.
    """

    def __init__(self, tag: str, reason: str) -> None:
        super().__init__(f"{tag} can't be released: {reason}")
        self.tag = tag
        self.reason = reason


def package_of(tag: str, workspace: Workspace) -> Package:
    """Find the package that a tag names and compare the versions.

    Raises:
        ReleaseError: The tag has another form, no such package, or not the version of its package.
    """
    match = re.fullmatch(r"(?P<name>.+)-v(?P<version>\d+\.\d+\.\d+)", tag)
    if match is None:
        raise ReleaseError(tag, "a tag is <package>-vX.Y.Z.")
    package = workspace.packages.get(match["name"])
    if package is None:
        raise ReleaseError(tag, f"the packages are {', '.join(workspace.packages)}.")
    if package.version != match["version"]:
        raise ReleaseError(tag, f"pyproject.toml of {package.name} says {package.version}.")
    return package


def check_changelog(tag: str, package: Package) -> None:
    """Look for the section of the version.

    Raises:
        ReleaseError: There is none.
    """
    text = (package.path / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(package.version)}\]", text, re.MULTILINE):
        raise ReleaseError(tag, f"CHANGELOG.md has no section [{package.version}].")


def check_siblings(
    tag: str, package: Package, workspace: Workspace, is_released: Callable[[str], bool]
) -> None:
    """Ask for every required sibling, those of the extras included, whether it is out.

    Args:
        tag: The tag, for the error.
        package: The package to release.
        workspace: Its siblings.
        is_released: Tells whether a requirement can be installed from the index.

    Raises:
        ReleaseError: A sibling must be released first.
    """
    extras = package.project.get("optional-dependencies", {}).values()
    requirements = package.dependencies + [item for extra in extras for item in extra]
    for requirement in requirements:
        name = requirement_name(requirement)
        if name in workspace.packages and name != package.name and not is_released(requirement):
            raise ReleaseError(tag, f"it needs {requirement}: release {name} first.")


def is_on_index(requirement: str) -> bool:
    """Ask the index with uv, which ignores the workspace and the day in pyproject.toml here."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--no-config",
        "--no-sources",
    ]
    result = subprocess.run(  # noqa: S603 the words are our own
        [*command, "--no-deps", "--refresh", "-"],
        input=requirement,
        text=True,
        capture_output=True,
        check=False,
    )
    if result.returncode not in (0, 1):  # 1: there is no such release
        raise RuntimeError(f"uv could not ask the index for {requirement}:\n{result.stderr}")
    print(result.stdout, result.stderr, file=sys.stderr)
    return result.returncode == 0


def main() -> None:
    """Check the tag named on the command line."""
    tag = Path(sys.argv[1]).name  # refs/tags/... is taken too
    workspace = read_workspace()
    try:
        package = package_of(tag, workspace)
        check_changelog(tag, package)
        check_siblings(tag, package, workspace, is_on_index)
    except ReleaseError as error:
        raise SystemExit(str(error)) from error
    print(package.name)


if __name__ == "__main__":
    main()
