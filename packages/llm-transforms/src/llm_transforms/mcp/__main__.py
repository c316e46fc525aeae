"""`python -m llm_transforms.mcp`."""

import sys

from llm_transforms.mcp.cli import main

if __name__ == "__main__":
    sys.exit(main())
