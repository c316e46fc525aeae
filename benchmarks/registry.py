"""Time the registry beside TorchRL's, raw Ray, raw multiprocessing and a bare socket.

python benchmarks/registry.py --help

It stands in `_registry`, and this file imports none of it until it runs: a process that
multiprocessing spawns imports this file again, and its start is one of the figures.
"""

import sys

if __name__ == "__main__":
    from _registry.cli import main

    sys.exit(main())
