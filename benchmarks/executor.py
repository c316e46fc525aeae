"""Time the executor beside TorchRL's, new processes, a Jupyter kernel, and the limits.

python benchmarks/executor.py --help
"""

import sys

from _executor.cli import main

if __name__ == "__main__":
    sys.exit(main())
