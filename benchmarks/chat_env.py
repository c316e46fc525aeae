"""Time a step of many chat environments beside TorchRL's, over Ray and on one machine.

python benchmarks/chat_env.py --help
"""

import sys

from _chat_env.cli import main

if __name__ == "__main__":
    sys.exit(main())
