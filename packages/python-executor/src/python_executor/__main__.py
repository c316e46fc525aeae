"""``python -m python_executor``: the command line of the package."""

import sys

from python_executor.cli import main

if __name__ == "__main__":
    sys.exit(main())
