"""What a built wheel and sdist must hold."""

from __future__ import annotations

import configparser
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

from workspace import Package, Workspace, requirement_name


def wheel_of(package: Package, dist: Path) -> Path:
    """Return the path of a package's wheel.

    Raises:
        FileNotFoundError: It was not built.
    """
    return _only(dist, f"{package.module}-{package.version}-py3-none-any.whl")


def defects_of(workspace: Workspace, dist: Path) -> list[str]:
    """Look into the wheel and the sdist of every package; return what is wrong, one defect a line.

    Raises:
        FileNotFoundError: A distribution was not built.
    """
    defects: list[str] = []
    for package in workspace.packages.values():
        wheel = wheel_of(package, dist)
        sdist = _only(dist, f"{package.module}-{package.version}.tar.gz")
        with zipfile.ZipFile(wheel) as archive:
            found = [
                *wheel_defects(package, archive),
                *metadata_defects(workspace, package, archive),
            ]
        defects += [f"{wheel.name}: {defect}" for defect in found]
        with tarfile.open(sdist) as archive:
            defects += [f"{sdist.name}: {defect}" for defect in sdist_defects(package, archive)]
    return defects


def wheel_defects(package: Package, archive: zipfile.ZipFile) -> list[str]:
    """Compare a wheel's files and entry points with the source tree and pyproject.toml."""
    info = _info(package)
    names = {name for name in archive.namelist() if not name.endswith("/")}
    source = package.path / "src"
    wanted = {
        file.relative_to(source).as_posix()
        for file in source.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and ".egg-info" not in str(file)
    }
    wanted |= {f"{package.module}/py.typed", f"{info}/licenses/LICENSE"}
    defects = [f"lacks {name}" for name in sorted(wanted - names)]
    extra = {name for name in names - wanted if not name.startswith(f"{info}/")}
    defects += [f"holds {name}, which the sources don't" for name in sorted(extra)]
    parser = configparser.ConfigParser(delimiters=("=",))
    if f"{info}/entry_points.txt" in names:
        parser.read_string(archive.read(f"{info}/entry_points.txt").decode())
    built = {group: dict(parser[group]) for group in parser.sections()}
    declared = {group: dict(points) for group, points in package.entry_points.items()}
    if built != declared:
        defects.append(f"has the entry points {built}, not {declared}")
    return defects


def metadata_defects(workspace: Workspace, package: Package, archive: zipfile.ZipFile) -> list[str]:
    """Check what an index and an installer read: licence, description, bounds on siblings."""
    metadata: Message = message_from_string(archive.read(f"{_info(package)}/METADATA").decode())
    defects = []
    if metadata["License-Expression"] != "MIT":
        defects.append(f"has the licence {metadata['License-Expression']}")
    if not str(metadata.get_payload()).strip():
        defects.append("has no description: the README is missing")
    for requirement in metadata.get_all("Requires-Dist", []):
        bounds = requirement.partition(";")[0]
        if requirement_name(requirement) in workspace.packages and (
            ">=" not in bounds or "==" in bounds
        ):
            defects.append(f"requires {requirement}: a sibling takes a floor, never a pin")
    return defects


def sdist_defects(package: Package, archive: tarfile.TarFile) -> list[str]:
    """Check that a wheel can be built from the sdist and that its licence goes along."""
    top = f"{package.module}-{package.version}"
    names = {name.removeprefix(f"{top}/") for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", f"src/{package.module}/py.typed"}
    return [f"lacks {name}" for name in sorted(wanted - names)]


def _info(package: Package) -> str:
    return f"{package.module}-{package.version}.dist-info"


def _only(dist: Path, name: str) -> Path:
    path = dist / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} was not built: run `nox -s build`.")
    return path
