"""Without the packages of the extra `torchrl`, its module says what to install."""

import subprocess
import sys

# As if they weren't installed, also where they are: the finder of site-packages passes them over.
HIDING = """
import sys
from importlib.machinery import PathFinder

class Hiding:
    @staticmethod
    def find_spec(name, path=None, target=None):
        hidden = name.split(".")[0] in ("torch", "tensordict", "torchrl")
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
import llm_transforms
try:
    import llm_transforms.torchrl
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_what_to_install_is_said() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HIDING], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "MissingExtraError 'torch' is not installed: "
        'python -m pip install "llm-transforms[torchrl]"\n'
    )
