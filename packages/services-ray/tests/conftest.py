"""One real Ray for the whole run, and the proof that no actor is left after a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray


def pytest_configure(config: pytest.Config) -> None:
    """Ray 2.53, our floor, leaves some of its own files and processes to the garbage collector."""
    if ray.__version__.startswith("2.53."):
        for leak in ("unclosed file <.* name='/dev/null'", r"subprocess \d+ is still running"):
            config.addinivalue_line("filterwarnings", f"ignore:{leak}:ResourceWarning")


@pytest.fixture(scope="session", autouse=True)
def started_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray with 4 logical CPUs, a logical GPU, a resource of its own and a label."""
    with pytest.MonkeyPatch.context() as environment:
        # Each actor starts a Python. Where PYTHONDONTWRITEBYTECODE is set, as in many images, half
        # of that time goes into compiling Ray anew.
        environment.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        environment.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        ray.init(
            num_cpus=4,
            num_gpus=1,
            resources={"special": 2},
            labels={"zone": "a"},
            include_dashboard=False,
            log_to_driver=False,
            namespace="mine",
        )
        yield
        ray.shutdown()


@pytest.fixture(autouse=True)
def no_actor_is_left() -> Iterator[None]:
    yield
    left = ray.util.list_named_actors(all_namespaces=True)
    assert not left, f"named actors are left: {left}"
