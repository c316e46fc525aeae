"""The one door to every check: `nox` before a push, `nox -t ci` for the rest, `nox -l` lists all.

The packages, their backends and the Pythons come from the pyproject files (see `.ci/workspace.py`).
Arguments after `--` go to pytest, or to the example. Environment variables:

- `WORKSPACE_PYTHONS`: the Pythons to use, main one first ("3.12 3.13"), instead of those found.
- `TEST_REPORTS`: a folder that every pytest run leaves a JUnit file in.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import nox
from python_discovery import get_interpreter

sys.path.insert(0, str(Path(__file__).parent / ".ci"))

from confine import UID
from distributions import defects_of, wheel_of
from elsewhere import elsewhere
from workspace import ROOT, Package, read_workspace

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = True
nox.options.tags = ["push"]

os.environ["UV_PYTHON_DOWNLOADS"] = "never"

WORKSPACE = read_workspace()
PACKAGES = list(WORKSPACE.packages.values())
DIST = ROOT / "dist"

# The Python that the exact torch of `trainers` is there for.
TRAINERS_PYTHON = "3.11"

# The lookup is nox's own, so what is found here is found again when an environment is made of it.
PYTHONS = os.environ.get("WORKSPACE_PYTHONS", "").split() or [
    version for version in WORKSPACE.pythons if get_interpreter(version)
]
if not PYTHONS:
    raise SystemExit(f"No Python of {', '.join(WORKSPACE.pythons)} was found: install one of them.")
MAIN = PYTHONS[0]

# Data that tests read; it lies beside the checkout.
SHARED_DATA = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))

# How the tests of a confined package run beside the plain run, which is root's own where nox runs
# as root: options of `.ci/confine.py`, and environment variables.
CONFINEMENTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "user": (["--user"], {}),
    "user-in-container": (["--user", "--no-namespaces"], {}),
    "root-in-container": (["--capabilities=container", "--no-namespaces"], {}),
    "root-without-capabilities": (["--capabilities=none"], {"PYTHON_EXECUTOR_NAMESPACES": "0"}),
}

# Where the adapter for TorchRL is tested: on services that the processes of its collectors find.
TORCHRL_BACKENDS = ("local", "ray")

# Sessions take names: nox writes their arguments into its report.
each_package = nox.parametrize("name", list(WORKSPACE.packages), ids=list(WORKSPACE.packages))
each_backend = nox.parametrize("backend", WORKSPACE.backends, ids=WORKSPACE.backends)
each_confinement = nox.parametrize(
    "confinement",
    [
        # What an ordinary user lacks in a container, `user` and the others lack between them.
        nox.param(name, id=name, tags=[] if name == "user-in-container" else ["ci"])
        for name in CONFINEMENTS
    ],
)
each_package_and_python = nox.parametrize(
    ["python", "name"],
    [
        nox.param(
            python,
            package.name,
            id=package.name if python == MAIN else f"{package.name}-{python}",
            tags=["push"] if python == MAIN else ["ci"],
        )
        for python in PYTHONS
        for package in PACKAGES
        if python in package.pythons and (package.everywhere or python == MAIN)
    ],
)


def editable(packages: list[Package]) -> list[str]:
    """Return the arguments that install packages from their sources."""
    return [argument for package in packages for argument in ("-e", str(package.path))]


def pytest(session: nox.Session, *arguments: str) -> None:
    """Run pytest, leaving a JUnit file if somebody adds the runs up."""
    session.run("pytest", *reporting(session, report_of(session)), *arguments, *session.posargs)


def report_of(session: nox.Session) -> Path | None:
    """Return the JUnit file that a session is to leave."""
    folder = os.environ.get("TEST_REPORTS")
    file = re.sub(r"[^\w.-]+", "-", session.name).strip("-")
    return Path(folder) / f"{file}.xml" if folder else None


def reporting(session: nox.Session, report: Path | None) -> list[str]:
    """Return the arguments that make pytest leave a JUnit file."""
    return [f"--junitxml={report}", "-o", f"junit_suite_name={session.name}"] if report else []


@nox.session(python=MAIN, tags=["push"])
def lint(session: nox.Session) -> None:
    """Check style and layout with ruff."""
    session.install("--group", "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=MAIN, tags=["push"])
def typing(session: nox.Session) -> None:
    """Check the types of every package and script with mypy, strict."""
    groups = [f"--group={package.test_group}" for package in PACKAGES]
    session.install(*editable(PACKAGES), *groups, "--group=typing", "--group=examples")
    for package in PACKAGES:
        session.run("mypy", str(package.path / "src"), str(package.path / "tests"))
        for more in sorted(package.path.glob("tests-*")):
            session.run("mypy", str(more))
    session.run("mypy", "noxfile.py", "docs/conf.py", *map(str, sorted(Path(".ci").rglob("*.py"))))
    for folder in ("examples", "benchmarks", "tests-integration"):
        if Path(folder).is_dir():
            session.run("mypy", folder)


@nox.session
@each_package_and_python
def tests(session: nox.Session, name: str) -> None:
    """Test a package in an environment that holds only what it declares."""
    package = WORKSPACE.packages[name]
    session.install(*editable([package]))
    session.run("python", "-P", "-c", f"import {package.module}")
    session.install(*editable([package]), "--group", package.test_group)
    pytest(session, *package.parallel, str(package.path / "tests"))


@nox.session(python=MAIN, tags=["push"])
def tools(session: nox.Session) -> None:
    """Test what the workspace's own scripts decide: releases, distributions, sums."""
    session.install("--group", "tools")
    session.env["PYTHONPATH"] = ".ci"
    pytest(session, ".ci/tests")


@nox.session(python=MAIN, tags=["push"])
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install(*editable(PACKAGES), "--group", "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-qE", "-b", "html", "docs", "docs/_build")
    session.log("The documentation is in docs/_build/index.html")


@nox.session(python=MAIN, tags=["ci"])
def snippets(session: nox.Session) -> None:
    """Run every Python snippet of the Markdown pages and the docstrings."""
    session.install(*editable(PACKAGES), "--group", "snippets")
    session.env["PYTHONPATH"] = ".ci"
    sources = [str(package.path / "src") for package in PACKAGES]
    pages = [str(package.path / "README.md") for package in PACKAGES]
    pytest(session, "-p", "snippets", "README.md", "CONTRIBUTING.md", "docs", *pages, *sources)


@nox.session(python=MAIN, tags=["ci"])
@each_package
def isolation(session: nox.Session, name: str) -> None:
    """Prove that a package can't import a sibling that it doesn't declare."""
    package = WORKSPACE.packages[name]
    copy = Path(session.create_tmp()) / "workspace"
    for sibling in sorted(WORKSPACE.packages.keys() - {name}):
        if sibling in WORKSPACE.installed_with(name, tests=False):
            session.log(f"{name} declares {sibling}: there is nothing to inject.")
            continue
        injected = inject(copy, package, WORKSPACE.packages[sibling])
        session.install("--exact", *editable([injected]))
        expect_missing(session, sibling, "python", "-P", "-c", f"import {package.module}")
        if sibling in WORKSPACE.installed_with(name, tests=True):
            session.log(f"The tests of {name} declare {sibling}: they may import it.")
            continue
        session.install("--exact", *editable([injected]), "--group", injected.test_group)
        expect_missing(session, sibling, "pytest", str(injected.path / "tests"))


def inject(copy: Path, package: Package, sibling: Package) -> Package:
    """Copy the workspace and import the sibling at the end of the package's `__init__.py`."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", copy)
    dropped = shutil.ignore_patterns("__pycache__", "*.egg-info", ".venv")
    for member in PACKAGES:
        shutil.copytree(member.path, copy / member.path.relative_to(ROOT), ignore=dropped)
    injected = read_workspace(copy.resolve()).packages[package.name]
    with (injected.path / "src" / package.module / "__init__.py").open("a") as file:
        file.write(f"\nimport {sibling.module}\n")
    return injected


def expect_missing(session: nox.Session, sibling: str, *command: str) -> None:
    """Run a command that must fail because the sibling isn't installed."""
    module = WORKSPACE.packages[sibling].module
    # 1: python and pytest with failed tests; 2: pytest interrupted at collection; 4: in a conftest.
    output = session.run(*command, success_codes=[1, 2, 4], silent=True)
    if f"ModuleNotFoundError: No module named '{module}'" not in str(output):
        session.error(f"{command} failed, but not for want of {module}:\n{output}")
    session.log(f"As it should, {command[0]} failed without {sibling}.")


@nox.session(python=MAIN, tags=["ci"])
def build(session: nox.Session) -> None:
    """Build all wheels and sdists into dist/ and look into them."""
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("uv", "build", "--quiet", "--all-packages", "--out-dir", str(DIST))
    if defects := defects_of(WORKSPACE, DIST):
        session.error("\n".join(defects))
    session.log(f"dist/ holds the wheels and sdists of {', '.join(WORKSPACE.packages)}.")


def install_wheels(session: nox.Session, packages: list[Package], *arguments: str) -> None:
    """Install built wheels by their paths, so that no namesake of an index can take their place."""
    wheels = [str(wheel_of(package, DIST)) for package in packages]
    session.install("--no-sources", *wheels, *arguments)


@nox.session(python=PYTHONS[0], tags=["ci"], requires=["build"])
@each_package
def tests_lowest(session: nox.Session, name: str) -> None:
    """Test a package from its built wheel, alone and with the oldest versions that it declares."""
    package = WORKSPACE.packages[name]
    alone = WORKSPACE.installed_with(name, tests=False)
    install_wheels(session, [p for p in PACKAGES if p.name in alone])
    session.run("python", "-P", "-c", f"import {package.module}")
    # A wheel's dependencies aren't direct ones to uv, those of a source tree are: the sources bring
    # the versions, and the wheels take their place.
    lowest = ("--upgrade", "--resolution=lowest-direct", "--group", package.test_group)
    session.install(*editable([package]), *lowest)
    tested = WORKSPACE.installed_with(name, tests=True)
    members = [p for p in PACKAGES if p.name in tested]
    install_wheels(session, members, "--no-deps", "--reinstall")
    session.run("python", "-P", ".ci/installed.py", *(member.module for member in members))
    pytest(session, *package.parallel, str(package.path / "tests"))


def chosen_tests(package: Package, folder: Path, *, everything: bool) -> list[str]:
    """Return the paths of a package's tests, or of those that depend on rights, in a folder."""
    patterns = ["tests"] if everything else package.confined
    return sorted(str(path) for pattern in patterns for path in folder.glob(pattern))


@nox.session(python=MAIN, tags=["ci"])
def science(session: nox.Session) -> None:
    """Run programs with numpy, scipy, pandas, sympy, matplotlib, scikit-learn and torch."""
    for package in PACKAGES:
        if "science" in package.groups:
            # Programs can't write bytecode: each would compile what it imports.
            group = package.group("science")
            session.install("--compile-bytecode", *editable([package]), "--group", group)
            pytest(session, str(package.path / "tests-science"))


@nox.session(python=MAIN, tags=["ci"])
def trainers(session: nox.Session) -> None:
    """Train with the adapters for TRL and verifiers, on the CPU (Python 3.11 alone)."""
    if MAIN != TRAINERS_PYTHON:
        session.log(f"Nothing to do: PyTorch is installed for Python {TRAINERS_PYTHON} alone.")
        return
    for package in PACKAGES:
        if "trainers" in package.groups:
            session.install(*editable([package]), "--group", package.group("trainers"))
            # Models so small lose by threads.
            session.env["OMP_NUM_THREADS"] = "1"
            pytest(session, str(package.path / "tests-trainers"))


@nox.session(python=MAIN, tags=["ci"])
def soak(session: nox.Session) -> None:
    """Run tests that do one thing very often, then thousands of mixed programs (-- --help)."""
    package = WORKSPACE.packages["python-executor"]
    session.install(*editable([package]), "--group", package.test_group)
    if not session.posargs:  # they are the script's
        pytest(session, *package.parallel, "-m", "load", str(package.path / "tests"))
    session.run("python", "benchmarks/soak.py", *session.posargs)


@nox.session(python=MAIN, requires=["build"])
@each_confinement
def confined(session: nox.Session, confinement: str) -> None:
    """Test wheels as an ordinary user, and what depends on rights also as containers confine it."""
    if os.getuid() != 0 and confinement != "user-in-container":
        session.log("Nothing to do: `tests` is an ordinary user's run already, or it needs root.")
        return
    for package in PACKAGES:
        if package.confined:
            confined_tests(session, package, confinement)


def confined_tests(session: nox.Session, package: Package, confinement: str) -> None:
    """Run a package's tests from a folder that everybody can enter."""
    options, variables = CONFINEMENTS[confinement]
    with elsewhere() as place:
        copy = place.copy_package(package)
        if SHARED_DATA.is_dir():
            place.copy_data(SHARED_DATA)
        python = place.python_for_all(Path(session.bin) / "python")
        session.run("uv", "venv", "--quiet", "--python", str(python), str(place.venv))
        install = ("uv", "pip", "install", "--quiet", "--link-mode=copy", "--compile-bytecode")
        group = f"--group={copy / 'pyproject.toml'}:test"
        inside = str(place.venv / "bin" / "python")
        members = [
            WORKSPACE.packages[name] for name in WORKSPACE.installed_with(package.name, tests=True)
        ]
        wheels = [str(wheel_of(member, DIST)) for member in members]
        session.run(*install, "--python", inside, "--no-sources", *wheels, group)
        modules = [member.module for member in members]
        session.run(inside, "-P", ".ci/installed.py", *modules, external=True)
        # Root without capabilities can enter no other user's home.
        place.open_up(uid=UID if "--user" in options else 0)
        report = report_of(session)
        theirs = place.home / "report.xml"
        chosen = chosen_tests(package, copy, everything=confinement == "user")
        session.chdir(place.home)
        try:
            session.run(
                *("python", str(ROOT / ".ci" / "confine.py"), *options),
                *(inside, "-P", "-m", "pytest", "-p", "no:cacheprovider"),
                *package.parallel,
                *reporting(session, report and theirs),
                *(*chosen, *session.posargs),
                env=place.environment | variables,
                include_outer_env=False,
            )
        finally:
            session.chdir(ROOT)
            if report and theirs.exists():
                shutil.copyfile(theirs, report)


@nox.session(python=MAIN, tags=["ci"], requires=["build"])
@each_backend
def integration(session: nox.Session, backend: str) -> None:
    """Test the built wheels together on one backend."""
    members = WORKSPACE.for_backend(backend)
    groups = ["--group=integration", "--group=examples"]
    if backend in TORCHRL_BACKENDS:
        groups.append("--group=torchrl")  # of one Python: elsewhere it installs nothing
    install_wheels(session, members, *groups)
    session.run("python", "-P", ".ci/installed.py", *(member.module for member in members))
    pytest(session, "tests-integration", "--backend", backend)


@nox.session(python=MAIN, tags=["ci"])
def example(session: nox.Session) -> None:
    """Run the main job: 128 chat environments on 32 interpreters (-- --backend ray)."""
    arguments = [word for argument in session.posargs for word in argument.split("=")]
    named = [backend for backend in WORKSPACE.backends if backend in arguments]
    members = WORKSPACE.for_backend(named[0] if named else "local")
    session.install(*editable(members), "--group", "examples")
    session.run("python", "examples/llm/python_executor_service.py", *session.posargs)


@nox.session(python=MAIN)
def benchmarks(session: nox.Session) -> None:
    """Time what the design promises, all of it or one script (-- registry --help)."""
    scripts = {path.stem: path for path in sorted(Path("benchmarks").glob("[!_]*.py"))}
    del scripts["soak"]  # it times nothing, and has a session of its own
    first, rest = session.posargs[:1], session.posargs[1:]
    named = [name for name in first if name in scripts]
    session.install(*editable(PACKAGES), "--group", "benchmarks")
    for name in named or scripts:
        arguments = rest if named else session.posargs
        # Ctrl-C: a script ends what it has started, Ray for one, before it is ended itself.
        session.run("python", str(scripts[name]), *arguments, interrupt_timeout=20.0)
