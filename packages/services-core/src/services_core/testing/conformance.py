"""`RegistryConformance`: every promise of the registry as a test."""

from __future__ import annotations

from services_core.testing.promises.basis import OpenRegistry, Promises, needed_by
from services_core.testing.promises.blocking import Blocking
from services_core.testing.promises.ending import Ending
from services_core.testing.promises.errors import Errors
from services_core.testing.promises.finding import Finding
from services_core.testing.promises.options import Options
from services_core.testing.promises.owners import Owners
from services_core.testing.promises.registering import Registering
from services_core.testing.promises.replicas import Replicas
from services_core.testing.promises.restarts import Restarts
from services_core.testing.promises.values import Values

__all__ = ["OpenRegistry", "RegistryConformance"]

# In the place of a test that needs a capability which isn't declared; pytest doesn't collect it.
_LEFT_OUT = "left out"


class RegistryConformance(
    Finding,
    Registering,
    Options,
    Errors,
    Ending,
    Restarts,
    Blocking,
    Values,
    Owners,
    Replicas,
    Promises,
):
    """What every backend promises.

    A subclass declares `capabilities`, and defines the fixture `open_registry`; one whose services
    are seen by other processes overrides `run_in_worker` too.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in filter(lambda name: name.startswith("test_"), dir(RegistryConformance)):
            test = getattr(RegistryConformance, name)
            # A class in between may lack a capability that this one has.
            if getattr(cls, name, None) not in (test, _LEFT_OUT):
                raise TypeError(
                    f"{cls.__name__} overrides {name}: a backend keeps every promise that its "
                    "capabilities name"
                )
            setattr(cls, name, test if needed_by(test) <= cls.capabilities else _LEFT_OUT)
