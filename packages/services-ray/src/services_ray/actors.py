"""Named actors: how they are made, found and ended."""

from __future__ import annotations

from typing import Any

import ray
from ray.actor import ActorHandle

from services_core import ServiceSpec
from services_core.waiting import looks
from services_ray import states
from services_ray.classes import for_ray
from services_ray.placement import spread

# A killed actor may be found for some 10 ms still; it is waited for, this long at most (seconds).
_FORGET_SECONDS = 5.0


def create(spec: ServiceSpec, ray_namespace: str) -> ActorHandle[Any]:
    """Create the actor of a service, which takes its name at once.

    Args:
        spec: The service.
        ray_namespace: Namespace of Ray for the name.

    Raises:
        ActorAlreadyExistsError: The name is taken.
        TypeError: The arguments don't fit the constructor.
        ValueError: An option has a value that Ray doesn't take.
    """
    options = spec.options
    asked = {
        "num_cpus": options.num_cpus,
        "num_gpus": options.num_gpus,
        "memory": options.memory,
        "max_concurrency": options.max_concurrency,
        "max_restarts": options.max_restarts,
        # A bound service ends with the process that holds the handle which `create` returns.
        "lifetime": "non_detached" if spec.bound else "detached",
    }
    given = {key: value for key, value in asked.items() if value is not None}
    # Some options (concurrency_groups) are taken here, and not by .options().
    remote: Any = ray.remote
    actor_class = remote(**{**given, **options.native, **spread(options)})(for_ray(spec.cls))
    named = actor_class.options(name=spec.name, namespace=ray_namespace)
    actor: ActorHandle[Any] = named.remote(*spec.args, **spec.kwargs)
    return actor


def find(name: str, ray_namespace: str) -> ActorHandle[Any] | None:
    """The actor of that name, constructed or not."""
    try:
        return ray.get_actor(name, namespace=ray_namespace)
    except ValueError:  # Ray's word for "there is none"
        return None


def names(ray_namespace: str) -> list[str]:
    """Names of the actors that live or are being constructed, as the control service knows them."""
    listed: list[Any] = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in listed if actor["namespace"] == ray_namespace]


def kill(actor: ActorHandle[Any], name: str, ray_namespace: str) -> None:
    """End an actor for good, and wait until its name is free.

    Args:
        actor: The actor. One that is dead already does no harm.
        name: Its name.
        ray_namespace: Namespace of Ray for the name.
    """
    ray.kill(actor, no_restart=True)
    for _ in looks(_FORGET_SECONDS):
        found = find(name, ray_namespace)
        if found is None or states.actor_id(found) != states.actor_id(actor):
            return
