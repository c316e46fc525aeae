"""Tables, figures and arrays go in and out as files, and figures that are shown as displays."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable

from python_executor import ExecutionResult

Run = Callable[..., ExecutionResult]

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_table_comes_in_and_another_goes_out(run: Run) -> None:
    table = b"city,n\nGraz,1\nWien,2\nGraz,3\n"
    code = """
import pandas as pd
sums = pd.read_csv("in/sales.csv").groupby("city", as_index=False)["n"].sum()
sums.to_csv("sums.csv", index=False)
sums.to_csv("sums.csv.gz", index=False)
"""
    files = run(code, files={"in/sales.csv": table})["files"]
    assert files["sums.csv"] == gzip.decompress(files["sums.csv.gz"]) == b"city,n\nGraz,4\nWien,2\n"
    assert set(files) == {"sums.csv", "sums.csv.gz"}


def test_figures_go_out_as_files(run: Run) -> None:
    code = """
import matplotlib.pyplot as plt
import numpy as np
figure, axes = plt.subplots()
x = np.linspace(0, 6, 100)
axes.plot(x, np.sin(x), label=r"$\\sin x$")
axes.set_title("Übersicht")
axes.legend()
for kind in ("png", "pdf", "svg", "jpg"):
    figure.savefig(f"figure.{kind}")
plt.close(figure)
"""
    result = run(code)
    heads = {"png": PNG, "pdf": b"%PDF", "svg": b"<?xml", "jpg": b"\xff\xd8"}
    assert set(result["files"]) == {f"figure.{kind}" for kind in heads}
    for kind, head in heads.items():
        assert result["files"][f"figure.{kind}"].startswith(head)
    assert result["displays"] == []  # it was closed


def test_figures_that_are_shown_or_left_open_are_displays(run: Run) -> None:
    code = """
import matplotlib.pyplot as plt
plt.plot([1, 2, 3])
plt.show()
plt.figure(figsize=(2, 2))
plt.bar(["a", "b"], [1, 2])
"""
    displays = run(code)["displays"]
    assert len(displays) == 2
    for display in displays:
        assert base64.b64decode(display["image/png"]).startswith(PNG)


def test_arrays_come_in_and_go_out(run: Run) -> None:
    code = """
import numpy as np
np.save("squares.npy", np.load("numbers.npy") ** 2)
"""
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }"
    numbers = header.ljust(127) + b"\n\x01\x02\x03"
    assert run(code, files={"numbers.npy": numbers})["files"]["squares.npy"].endswith(b"\1\4\x09")
