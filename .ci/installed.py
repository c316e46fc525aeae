"""Fail unless the named modules come from the site-packages of this interpreter."""

import importlib
import sys
import sysconfig
from pathlib import Path


def main() -> None:
    """Import each module named on the command line and look where it is."""
    installed = Path(sysconfig.get_path("purelib")).resolve()
    for name in sys.argv[1:]:
        file = importlib.import_module(name).__file__
        if file is None or not Path(file).resolve().is_relative_to(installed):
            raise SystemExit(f"{name} comes from {file}, not from a wheel in {installed}.")


if __name__ == "__main__":
    main()
