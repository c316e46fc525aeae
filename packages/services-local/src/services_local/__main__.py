"""`python -m services_local`: the command line of the package."""

import sys

from services_local.cli import main

if __name__ == "__main__":
    sys.exit(main())
