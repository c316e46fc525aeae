"""Time the sessions of the executor beside TorchRL's process, a Jupyter kernel, and the limits.

python benchmarks/sessions.py --help
"""

import sys

from _sessions.cli import main

if __name__ == "__main__":
    sys.exit(main())
