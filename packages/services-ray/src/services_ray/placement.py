"""Where replicas go, if the user doesn't say.

Ray's strategy "SPREAD" counts round robin in one raylet, so it works for actors that all ask the
same raylet. Those that ask for no resources are sent to a random one each, and three of them meet
on the same node more often than not.
"""

from __future__ import annotations

from typing import Any

from services_core import ServiceOptions
from services_ray import states

# With one of these the user says where an actor goes.
_PLACING = frozenset({"scheduling_strategy", "placement_group"})

# With one of these Ray has something to choose a node by.
_ASKING = frozenset({"resources", "accelerator_type", "label_selector", "fallback_strategy"})

# All by which Ray chooses a node, for who has to be told why there is none.
PLACING_OPTIONS = ("num_cpus", "num_gpus", "memory", *sorted(_ASKING), *sorted(_PLACING))

# So little that a node is never full of it.
_NEXT_TO_NOTHING = 0.0001


def spread(options: ServiceOptions) -> dict[str, Any]:
    """Options of Ray that spread the replicas of a service over the nodes.

    Args:
        options: What the user has asked for.
    """
    if options.replicas == 1 or options.native.keys() & _PLACING:
        return {}
    asks = options.num_cpus or options.num_gpus or options.memory or options.native.keys() & _ASKING
    resource = states.implicit_resource("services_core")
    # An actor that doesn't name its CPUs holds none, and isn't placed on a node that has none.
    if asks or resource is None or (options.num_cpus is None and not states.nodes_all_have_cpus()):
        return {"scheduling_strategy": "SPREAD"}
    return {
        "scheduling_strategy": "SPREAD",
        "num_cpus": 0,
        "resources": {resource: _NEXT_TO_NOTHING},
    }
