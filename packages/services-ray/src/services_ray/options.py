"""The options that Ray takes for an actor and that `register` passes on."""

from __future__ import annotations

from services_core import PORTABLE_OPTIONS

# Those of Ray 2.53, for a Ray that has moved its table: ray._common is private to Ray.
_RAY_2_53 = frozenset(
    {
        "_labels",
        "accelerator_type",
        "allow_out_of_order_execution",
        "concurrency_groups",
        "enable_task_events",
        "fallback_strategy",
        "label_selector",
        "max_pending_calls",
        "max_task_retries",
        "object_store_memory",
        "placement_group",
        "placement_group_bundle_index",
        "placement_group_capture_child_tasks",
        "resources",
        "runtime_env",
        "scheduling_strategy",
    }
)
_OWNED = frozenset({"name", "namespace", "get_if_exists"})


def native_options() -> frozenset[str]:
    """Names of the options that only this backend has, as the installed Ray knows them."""
    try:
        from ray._common.ray_option_utils import actor_options
    except ImportError:
        known = _RAY_2_53
    else:
        known = frozenset(actor_options)
    return known - PORTABLE_OPTIONS - _OWNED
