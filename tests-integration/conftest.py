"""The integration tests: built wheels of all packages, one backend, real workers.

nox -s "integration(local)"
pytest tests-integration --backend local        # in an environment that has the wheels
"""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from services_core import ServiceBase, get_services

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent

# Whatever the machine's setting: the processes of collectors import TorchRL after this one, which
# has then compiled it.
sys.dont_write_bytecode = False

# Workers import what tests run in them from here.
sys.path.insert(0, str(HERE))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--backend", default="local", help="which backend the services run on")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers of tests that are for some backends only."""
    config.addinivalue_line("markers", "kills: kills the process of a service, or of a replica")
    config.addinivalue_line("markers", "ray: needs Ray, whatever the backend")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave what tests Ray's clusters to the backend Ray, and TorchRL to where it is installed."""
    backend = config.getoption("backend")
    if collection_path.name.startswith("test_ray_"):
        return True if backend != "ray" else None
    if collection_path.name.startswith("test_torchrl_"):
        # The dependency group `torchrl` is for one Python, and a collector's processes find no
        # service that lives in ours.
        return True if backend == "inline" or sys.version_info[:2] != (3, 11) else None
    return None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to test the source tree: what users install is what is tested."""
    for project in sorted(REPOSITORY.glob("packages/*/pyproject.toml")):
        name = tomllib.loads(project.read_text())["project"]["name"].replace("-", "_")
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            if name == f"services_{session.config.getoption('backend')}":
                raise
            continue  # another backend's package: not installed for this one
        if "site-packages" not in Path(str(module.__file__)).parts:
            raise pytest.UsageError(
                f"{name} was imported from {module.__file__}: install the built wheels"
            )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip that nobody has written down fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    lines = (HERE / "allowed_skips.txt").read_text().splitlines()
    allowed = {line.split("  ")[0] for line in lines if line and not line.startswith("#")}
    for report in reporter.stats.get("skipped", []):
        if report.nodeid not in allowed:
            reporter.write_line(f"skipped, and not in allowed_skips.txt: {report.nodeid}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give every test the time that starting a Ray takes on a busy machine.

    What kills services is left to the backends on which they have processes of their own, what
    needs Ray to the backend that brings it.
    """
    backend = config.getoption("backend")
    left_out = {"inline": {"kills", "ray"}, "local": {"ray"}}.get(backend, set())
    items[:] = [
        item for item in items if not left_out & {mark.name for mark in item.iter_markers()}
    ]
    for item in items:
        item.add_marker(pytest.mark.timeout(150))


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """Name of the backend under test."""
    return str(request.config.getoption("backend"))


@pytest.fixture(scope="session", autouse=True)
def bytecode_is_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the Pythons that are started share what they compile, whatever the machine's setting.

    Each actor starts one. Where PYTHONDONTWRITEBYTECODE is set, as in many images, half of that
    time goes into compiling Ray anew.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        environment.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


@pytest.fixture(scope="session", autouse=True)
def started_backend(backend: str, bytecode_is_kept: None) -> Iterator[None]:
    """Ray, once for the whole run, where it is the backend."""
    if backend != "ray":
        yield
        return
    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    left = ray.util.list_named_actors(all_namespaces=True)
    ray.shutdown()
    assert not left, f"named actors are left: {left}"


@pytest.fixture
def services(backend: str) -> Iterator[ServiceBase]:
    """An empty registry, ended after the test."""
    with get_services(backend=backend, namespace="integration") as opened:
        yield opened


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; the variable SHARED_DATA names another."""
    folder = Path(os.environ.get("SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.fail(f"{folder} is missing: set SHARED_DATA to the folder of the shared data")
    return folder
