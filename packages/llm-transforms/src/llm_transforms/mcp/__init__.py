"""A server of the Model Context Protocol whose tools run Python: `python -m llm_transforms.mcp`.

It speaks on stdin and stdout, and keeps names from one call to the next. Needs the extra
`llm-transforms[mcp]`.
"""

from llm_transforms.extras import require

require("mcp", "mcp")

from llm_transforms.mcp.cli import main  # noqa: E402 - after the package is known to be there
from llm_transforms.mcp.server import PythonServer  # noqa: E402

__all__ = ["PythonServer", "main"]
