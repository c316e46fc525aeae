"""What the workspace holds, read from its pyproject files.

The noxfile, the release check and the documentation take the packages, what they depend on and
which backends they bring from here, so no list of packages is typed twice.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

BACKENDS = "services_core.backends"
"""The entry-point group that a package adds its backends to."""

_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_PYTHON = "Programming Language :: Python :: "


def requirement_name(requirement: str) -> str:
    """Return the normalised name that a requirement starts with: `"Ray[core]>=2"` gives `"ray"`."""
    match = _NAME.match(requirement)
    if match is None:
        raise ValueError(f"{requirement!r} doesn't start with the name of a distribution.")
    return re.sub(r"[-_.]+", "-", match[1]).lower()


@dataclass(frozen=True)
class Package:
    """One member of the workspace.

    Attributes:
        path: Its folder.
        project: The `[project]` table of its pyproject.toml.
        groups: Its `[dependency-groups]`.
        everywhere: Whether its tests run on each Python of the machine, or on the first alone
            (`[tool.workspace] pythons = "first"`).
        workers: How many processes run its tests at a time (`[tool.workspace] workers = 2`).
        confined: Those of its tests that depend on rights, as patterns of paths in its folder; they
            also run as users and as containers confine them (`[tool.workspace] confined = [...]`).
    """

    path: Path
    project: Mapping[str, Any]
    groups: Mapping[str, list[Any]]
    everywhere: bool
    workers: int = 1
    confined: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the distribution."""
        return str(self.project["name"])

    @property
    def module(self) -> str:
        """The name that it is imported by."""
        return self.name.replace("-", "_")

    @property
    def version(self) -> str:
        """The version that its pyproject.toml declares."""
        return str(self.project["version"])

    @property
    def dependencies(self) -> list[str]:
        """The requirements of an installation without extras."""
        return list(self.project["dependencies"])

    @property
    def test_group(self) -> str:
        """The dependency group of its tests, as pip and uv take it after `--group`."""
        return self.group("test")

    def group(self, name: str) -> str:
        """One of its dependency groups, as pip and uv take it after `--group`."""
        return f"{self.path / 'pyproject.toml'}:{name}"

    @property
    def parallel(self) -> list[str]:
        """The arguments of pytest that run its tests in parallel, each file in one process."""
        return [f"--numprocesses={self.workers}", "--dist=loadfile"] if self.workers > 1 else []

    @property
    def entry_points(self) -> Mapping[str, Mapping[str, str]]:
        """The entry points by group; `[project.scripts]` is the group console_scripts."""
        groups: dict[str, Mapping[str, str]] = dict(self.project.get("entry-points", {}))
        if scripts := self.project.get("scripts"):
            groups["console_scripts"] = scripts
        return groups

    @property
    def backends(self) -> list[str]:
        """The names of the backends that it brings."""
        return sorted(self.entry_points.get(BACKENDS, {}))

    @property
    def pythons(self) -> set[str]:
        """The versions of Python that its classifiers name: `{"3.11", ...}`."""
        named = (
            c.removeprefix(_PYTHON) for c in self.project["classifiers"] if c.startswith(_PYTHON)
        )
        return {version for version in named if re.fullmatch(r"3\.\d+", version)}

    @property
    def test_requirements(self) -> list[str]:
        """What its tests need beside its dependencies, included groups not followed."""
        return [requirement for requirement in self.groups["test"] if isinstance(requirement, str)]


@dataclass(frozen=True)
class Workspace:
    """The members by name, each after those that it depends on."""

    packages: Mapping[str, Package]

    def siblings(self, requirements: Iterable[str]) -> set[str]:
        """Name the members among the requirements, and those that these in turn install.

        An extra that is asked for counts with all it names.
        """
        found: set[str] = set()
        waiting = list(requirements)
        while waiting:
            requirement = waiting.pop()
            member = self.packages.get(requirement_name(requirement))
            if member is None:
                continue
            extras = re.search(r"\[([^]]*)\]", requirement)
            for extra in extras[1].split(",") if extras else ():
                waiting += member.project["optional-dependencies"][extra.strip()]
            if member.name not in found:
                found.add(member.name)
                waiting += member.dependencies
        return found

    def installed_with(self, name: str, *, tests: bool) -> set[str]:
        """Name the members that an environment of one package holds, itself included.

        Args:
            name: The package.
            tests: Whether the dependency group of its tests is installed too.
        """
        package = self.packages[name]
        return {name} | self.siblings(
            package.dependencies + (package.test_requirements if tests else [])
        )

    def for_backend(self, backend: str) -> list[Package]:
        """List what an environment holds that uses one backend: no package of another backend.

        Raises:
            KeyError: No package of the workspace brings that backend.
        """
        if backend not in self.backends:
            raise KeyError(f"No package brings a backend {backend!r}; there are {self.backends}.")
        wanted: set[str] = set()
        for package in self.packages.values():
            if backend in package.backends or not package.backends:
                wanted |= self.installed_with(package.name, tests=False)
        return [package for package in self.packages.values() if package.name in wanted]

    @property
    def backends(self) -> list[str]:
        """The names of all backends, in the order of the packages that bring them."""
        return [backend for package in self.packages.values() for backend in package.backends]

    @property
    def pythons(self) -> list[str]:
        """The versions of Python that some package supports, oldest first."""
        named = set().union(*(package.pythons for package in self.packages.values()))
        return sorted(named, key=lambda version: tuple(map(int, version.split("."))))


def _table(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _package(path: Path) -> Package:
    table = _table(path / "pyproject.toml")
    settings = table.get("tool", {}).get("workspace", {})
    pythons = settings.get("pythons", "all")
    if pythons not in ("all", "first"):
        raise ValueError(f'{path}: [tool.workspace] pythons is "all" or "first", not {pythons!r}.')
    return Package(
        path,
        table["project"],
        table["dependency-groups"],
        everywhere=pythons == "all",
        workers=settings.get("workers", 1),
        confined=tuple(settings.get("confined", ())),
    )


def read_workspace(root: Path = ROOT) -> Workspace:
    """Read the members that `[tool.uv.workspace]` of the root names."""
    patterns = _table(root / "pyproject.toml")["tool"]["uv"]["workspace"]["members"]
    folders = sorted(path for pattern in patterns for path in root.glob(pattern))
    found = [_package(path) for path in folders if (path / "pyproject.toml").is_file()]
    unordered = Workspace({package.name: package for package in found})
    # Whoever depends on another installs more members than it does.
    ordered = sorted(
        found, key=lambda p: (len(unordered.installed_with(p.name, tests=False)), p.name)
    )
    return Workspace({package.name: package for package in ordered})
