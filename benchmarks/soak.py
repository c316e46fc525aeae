"""Execute thousands of mixed programs and prove that nothing is left or grows.

python benchmarks/soak.py --help
"""

import sys

from _soak.cli import main

if __name__ == "__main__":
    sys.exit(main())
