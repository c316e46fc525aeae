"""The Ray backend of services-core, from one machine to a cluster.

Install it and say `get_services(backend="ray")`. Each service is a named actor, found from every
driver, task and actor of the cluster.
"""

from services_ray.client import RayConnection
from services_ray.registry import RayService

__all__ = ["RayConnection", "RayService"]
