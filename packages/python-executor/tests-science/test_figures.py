"""Figures of matplotlib come out as PNG, and its fonts are there without looking for them."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from python_executor import ExecutionResult, PythonExecutorService

Run = Callable[[str], ExecutionResult]


def sizes(result: ExecutionResult) -> list[tuple[int, int]]:
    """Width and height of the images that were shown, in pixels."""
    found = []
    for display in result["displays"]:
        assert set(display) == {"image/png", "text/plain"}
        image = base64.b64decode(display["image/png"], validate=True)
        assert image.startswith(b"\x89PNG\r\n\x1a\n")
        found.append(struct.unpack(">II", image[16:24]))
    return found


SHOW = """
fig, ax = plt.subplots(figsize=(4, 2))
ax.plot([1, 3, 2])
ax.set_title("Übersicht $x^2$")
plt.show()
assert plt.get_fignums() == []
plt.figure(figsize=(8, 2)).add_subplot().plot([1])
plt.figure()
"""


@pytest.mark.parametrize(
    "begin",
    [
        "import matplotlib.pyplot as plt",
        "import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as plt",
        "import matplotlib.pyplot as plt; plt.switch_backend('agg')",
        "import matplotlib; matplotlib.use('svg'); import matplotlib.pyplot as plt",
        "import matplotlib.pyplot as plt; plt.ion()",
        "from pylab import *; import pylab as plt",
    ],
)
def test_figures_come_out_whatever_backend_the_program_asks_for(run: Run, begin: str) -> None:
    result = run(f"{begin}\n{SHOW}")
    (width, height), (other_width, _) = sizes(result)  # the empty figure doesn't come out
    assert width > height
    assert 1.5 < other_width / width < 2.5
    assert result["displays"][0]["text/plain"] == "<Figure size 400x200 with 1 Axes>"
    assert (result["files"], result["stdout"], result["truncated"]) == ({}, "", False)


def test_a_figure_that_is_saved_comes_out_as_file_and_if_left_open_as_display(run: Run) -> None:
    result = run(
        "import matplotlib.pyplot as plt\n"
        "plt.plot([1, 2]); plt.savefig('a.png'); plt.close()\n"
        "plt.plot([2, 1]); plt.savefig('b.pdf')"
    )
    assert [data[:4] for data in result["files"].values()] == [b"\x89PNG", b"%PDF"]
    assert len(sizes(result)) == 1


def test_figures_without_pyplot_are_shown_by_themselves_only(run: Run) -> None:
    result = run(
        "from matplotlib.figure import Figure\n"
        "fig = Figure(); fig.add_subplot().plot([1]); fig.savefig('a.png')"
    )
    assert (list(result["files"]), result["displays"]) == (["a.png"], [])
    result = run(
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1])\n"
        "fig.show(); fig.canvas.manager is None\nassert plt.get_fignums() == []"
    )
    assert len(sizes(result)) == 1


def test_plots_of_pandas_come_out(run: Run) -> None:
    result = run("import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': [2, 1]}).plot()")
    assert len(sizes(result)) == 1
    assert result["value"] == "<Axes: >"


COUNT_FONTS = "from matplotlib import font_manager\nlen(font_manager.fontManager.ttflist)"
GIVE_LIST = """
import glob, os
from matplotlib import get_cachedir
[path] = glob.glob(get_cachedir() + "/fontlist-*.json")
os.rename(path, os.path.basename(path))
"""


def pool(*preload: str) -> PythonExecutorService:
    return PythonExecutorService(pool_size=1, timeout=60.0, preload=preload)


@pytest.mark.parametrize("preload", [[], ["matplotlib"], ["matplotlib.pyplot"]])
def test_fonts_are_taken_from_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preload: list[str]
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    with pool() as executor:
        made = executor.execute(COUNT_FONTS + GIVE_LIST)["files"]
    ((name, data),) = made.items()
    fonts = json.loads(data)
    assert len(fonts["ttflist"]) > 10
    private = {**fonts["ttflist"][0], "fname": str(Path.home() / "fonts" / "x.ttf")}
    fonts["ttflist"] = [*fonts["ttflist"][:5], private]
    (tmp_path / name).write_text(json.dumps(fonts))
    (tmp_path / "fontlist-v1.json").write_text("no list")
    with pool(*preload) as executor:
        assert executor.execute(COUNT_FONTS)["value"] == "5"
        assert executor.execute("import os; 'MPLCONFIGDIR' in os.environ")["value"] == "False"
    assert {path.name for path in tmp_path.iterdir()} == {name, "fontlist-v1.json"}


@pytest.mark.parametrize("preload", [[], ["matplotlib"]])
def test_without_such_a_cache_fonts_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preload: list[str]
) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "none"))
    with pool(*preload) as executor:
        assert int(executor.execute(COUNT_FONTS)["value"] or 0) > 10
    assert list(tmp_path.iterdir()) == []
