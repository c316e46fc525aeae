"""The scientific libraries do their work inside the sandbox, imported there or preloaded."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from python_executor import ExecutionResult

Run = Callable[..., ExecutionResult]

PROGRAMS = {
    "numpy, dense linear algebra": """
import numpy as np
a = np.random.default_rng(0).normal(size=(300, 300))
b = a @ np.ones(300)
assert np.allclose(np.linalg.solve(a, b), 1)
u, s, v = np.linalg.svd(a)
assert np.allclose((u * s) @ v, a)
values, vectors = np.linalg.eigh(a + a.T)
assert np.allclose((vectors * values) @ vectors.T, a + a.T)
assert np.isclose(np.linalg.slogdet(a)[1], np.log(s).sum())
""",
    "numpy, Fourier transforms": """
import numpy as np
t = np.arange(4096) / 4096
x = np.sin(2 * np.pi * 50 * t) + 0.5 * np.sin(2 * np.pi * 120 * t)
spectrum = np.abs(np.fft.rfft(x))
assert sorted(np.argsort(spectrum)[-2:].tolist()) == [50, 120]
assert np.allclose(np.fft.irfft(np.fft.rfft(x)), x)
""",
    "numpy, arrays in files and mapped from them": """
import numpy as np
a = np.arange(1_000_000.0)
np.save("a.npy", a)
np.savez_compressed("b.npz", a=a, b=a[::-1])
assert np.load("b.npz")["b"][0] == 999_999
mapped = np.load("a.npy", mmap_mode="r+")
mapped[0] = 7
mapped.flush()
assert np.load("a.npy")[0] == 7
""",
    "scipy, linear algebra, dense and sparse": """
import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import eigsh, spsolve
a = np.random.default_rng(0).normal(size=(200, 200))
p, l, u = linalg.lu(a)
assert np.allclose(p @ l @ u, a)
assert np.allclose(linalg.expm(np.zeros((3, 3))), np.eye(3))
n = 10_000
laplace = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(n, n)).tocsc()
assert np.allclose(laplace @ spsolve(laplace, np.ones(n)), 1)
assert eigsh(laplace[:100, :100], k=1)[0] < 4
""",
    "scipy, optimisation and differential equations": """
import numpy as np
from scipy.integrate import quad, solve_ivp
from scipy.optimize import linprog, minimize, rosen
assert np.allclose(minimize(rosen, [1.3, 0.7, 0.8], method="BFGS").x, 1, atol=1e-4)
assert linprog([-1, -2], A_ub=[[1, 1]], b_ub=[4]).fun == -8
assert abs(quad(lambda x: np.exp(-x * x), -np.inf, np.inf)[0] - np.pi**0.5) < 1e-9
decay = solve_ivp(lambda t, y: -y, (0, 1), [1.0], rtol=1e-8)
assert abs(decay.y[0, -1] - np.exp(-1)) < 1e-6
""",
    "scipy, statistics, signals, trees and images": """
import numpy as np
from scipy import fft, interpolate, ndimage, signal, spatial, special, stats
x = np.random.default_rng(0).normal(size=10_000)
assert stats.kstest(x, "norm").pvalue > 0.001
assert np.allclose(fft.idct(fft.dct(x)), x)
assert signal.sosfilt(signal.butter(4, 0.1, output="sos"), x).std() < x.std()
assert spatial.cKDTree([[0, 0], [1, 1]]).query([0.9, 0.8])[1] == 1
assert abs(interpolate.CubicSpline(range(9), np.sin(range(9)))(4.5) - np.sin(4.5)) < 0.01
assert ndimage.label([[1, 0, 1]])[1] == 2
assert special.gamma(5) == 24
""",
    "pandas, groups, joins, pivots": """
import pandas as pd
sales = pd.DataFrame({"city": ["Graz", "Wien", "Graz", "Linz"], "n": [1, 2, 3, 4]})
assert sales.groupby("city")["n"].agg(["sum", "mean"]).loc["Graz"].tolist() == [4, 2]
people = pd.DataFrame({"city": ["Graz", "Wien"], "people": [300, 2000]})
merged = sales.merge(people, on="city", how="left")
assert merged["people"].isna().sum() == 1
assert sales.pivot_table(index="city", values="n", aggfunc="max").loc["Graz", "n"] == 3
assert sales.query("n > 2")["city"].str.upper().tolist() == ["GRAZ", "LINZ"]
print(sales.describe())
""",
    "pandas, dates and time zones": """
import pandas as pd
hours = pd.date_range("2026-03-28", periods=72, freq="h", tz="Europe/Vienna")
daily = pd.Series(1, index=hours).resample("D").sum()
assert daily.tolist() == [24, 23, 24, 1]
assert hours.tz_convert("UTC")[0].hour == 23
""",
    "pandas, tables in files and in SQL": """
import io, sqlite3
import pandas as pd
frame = pd.DataFrame({"a": range(1000), "b": [x / 7 for x in range(1000)], "c": ["x,\\n"] * 1000})
frame.to_csv("frame.csv.gz", index=False)
pd.testing.assert_frame_equal(pd.read_csv("frame.csv.gz"), frame)
frame.to_pickle("frame.pickle")
pd.testing.assert_frame_equal(pd.read_pickle("frame.pickle"), frame)
assert len(pd.read_json(io.StringIO(frame.to_json(orient="records")))) == 1000
with sqlite3.connect("frame.db") as connection:
    frame.to_sql("frame", connection, index=False)
    total = pd.read_sql("select sum(a) as total from frame", connection)["total"][0]
connection.close()
assert total == 499_500
""",
    "sympy, calculus": """
from sympy import *
x, n = symbols("x n")
assert integrate(exp(-x**2), (x, -oo, oo)) == sqrt(pi)
assert diff(sin(x) * exp(x), x).equals(exp(x) * (sin(x) + cos(x)))
assert limit(sin(x) / x, x, 0) == 1
assert summation(1 / n**2, (n, 1, oo)) == pi**2 / 6
assert series(cos(x), x, 0, 4).removeO() == 1 - x**2 / 2
""",
    "sympy, equations, matrices, output": """
from sympy import *
x, y = symbols("x y")
f = Function("f")
assert solve(x**2 - 2, x) == [-sqrt(2), sqrt(2)]
assert solve([x + y - 3, x - y - 1], [x, y]) == {x: 2, y: 1}
assert dsolve(f(x).diff(x) - f(x), f(x)).rhs.has(exp(x))
assert Matrix([[2, 1], [1, 2]]).eigenvals() == {1: 1, 3: 1}
assert latex(Rational(1, 2)) == r"\\frac{1}{2}"
assert abs(lambdify(x, sin(x))(1.0) - 0.8414709848) < 1e-9
assert factorint(2**64 + 1) == {274177: 1, 67280421310721: 1}
assert str(N(pi, 50)) == "3.1415926535897932384626433832795028841971693993751"
""",
    "matplotlib, figures in files": """
import os
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
assert matplotlib.get_backend().lower() == "agg"
figure, axes = plt.subplots(2, 2, figsize=(6, 4))
x = np.linspace(0, 6, 100)
axes[0, 0].plot(x, np.sin(x), label=r"$\\sin x$")
axes[0, 0].legend()
axes[0, 1].hist(np.random.default_rng(0).normal(size=500), bins=20)
axes[1, 0].scatter(x, x**2, c=x)
axes[1, 1].imshow(np.outer(x, x))
figure.suptitle("Übersicht")
heads = {"png": b"\\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "jpg": b"\\xff\\xd8"}
for kind, head in heads.items():
    figure.savefig(f"figure.{kind}")
    assert open(f"figure.{kind}", "rb").read(8).startswith(head)
plt.close(figure)
""",
    "scikit-learn, classifiers": """
import numpy as np
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
x, y = load_iris(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0)
for model in (
    make_pipeline(StandardScaler(), LogisticRegression()),
    RandomForestClassifier(n_estimators=20, n_jobs=2, random_state=0),
    SVC(),
):
    assert model.fit(train_x, train_y).score(test_x, test_y) > 0.9
""",
    "scikit-learn, clusters, components, neighbours": """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier
x, y = make_blobs(n_samples=600, centers=[[-5, 0, 0], [5, 0, 0], [0, 9, 0]], random_state=0)
found = KMeans(n_clusters=3, n_init=3, random_state=0).fit_predict(x)
assert adjusted_rand_score(y, found) > 0.95
assert PCA(2).fit(x).explained_variance_ratio_.sum() > 0.9
assert KNeighborsClassifier(5).fit(x, y).score(x, y) > 0.95
model = HistGradientBoostingRegressor(max_iter=20).fit(x, x[:, 0] ** 2)
assert model.score(x, x[:, 0] ** 2) > 0.8
""",
    "scikit-learn, a model kept in a file by joblib": """
import joblib
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
x, y = load_diabetes(return_X_y=True)
joblib.dump(Ridge().fit(x, y), "model.joblib", compress=3)
assert joblib.load("model.joblib").predict(x[:3]).shape == (3,)
""",
    "numpy in threads": """
import concurrent.futures
import numpy as np
def work(seed):
    a = np.random.default_rng(seed).normal(size=(200, 200))
    return float(np.linalg.norm(a @ np.linalg.inv(a) - np.eye(200)))
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert max(pool.map(work, range(24))) < 1e-6
""",
}


@pytest.mark.parametrize("code", PROGRAMS.values(), ids=PROGRAMS)
def test_a_library_works(run: Run, code: str) -> None:
    run(code)
