"""The conformance suite of the registry: what every backend promises, as tests.

Needs the extra: `pip install "services-core[testing]"`. A backend's author writes one test module:

.. code-block:: python

    import pytest

    from services_core import InlineService
    from services_core.testing import RegistryConformance


    class TestMyBackend(RegistryConformance):
        capabilities = frozenset()  # Capability.PROCESSES, ...

        @pytest.fixture
        def open_registry(self):
            opened = []

            def open_one(namespace):
                opened.append(InlineService(namespace))
                return opened[-1]

            yield open_one
            for services in opened:
                services.shutdown()

A promise that a backend can't keep is a capability that it doesn't declare; its tests are then not
collected. Deleting or overriding a test of the suite fails.
"""

import sys
from typing import TYPE_CHECKING, Any

from services_core.testing.capabilities import Capability

if TYPE_CHECKING:
    from services_core.testing.conformance import RegistryConformance

__all__ = ["Capability", "RegistryConformance"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: services of the suite start in processes that need no pytest.
    if name == "RegistryConformance":
        import pytest

        # Its asserts are rewritten like those of a test module.
        if "services_core.testing.conformance" not in sys.modules:
            pytest.register_assert_rewrite("services_core.testing.promises")
        from services_core.testing.conformance import RegistryConformance

        return RegistryConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
