"""The commands of ``python-executor``: each a module with ``add`` (its options) and ``main``."""
