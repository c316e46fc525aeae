"""Start the root server: ``python -I -X utf8 boot.py SOCKET``, with its descriptor's number.

With a hash seed it is ``-s`` instead of ``-I``, which would have Python ignore it.

The configuration comes over the socket: programs see the command line (``sys.orig_argv``).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

PACKAGE = "_python_executor_child"


def main() -> None:
    """Load this folder as a package of its own name, and be what it takes: root, slot, program.

    Each serves until it is done, or until it finds itself a forked child of its, and returns what
    that is to be: so nobody stands on the stack of another, and a program begins on an empty one.
    """
    if not sys.flags.isolated:
        del sys.path[0]  # this folder, which -P keeps out only since Python 3.11
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)
    root = importlib.import_module(f"{PACKAGE}.root")
    role = root.start(int(sys.argv[1]))
    while role is not None:
        role = role.serve()
    os._exit(0)  # a server that is done: what preloaded modules do at exit is for programs


if __name__ == "__main__":
    main()
