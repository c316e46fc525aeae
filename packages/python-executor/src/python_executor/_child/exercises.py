"""Using preloaded libraries once in the root, so that programs find done what first use does.

First use imports more modules, fills caches, creates types and specialises bytecode (PEP 659). Done
in every program it takes longer than most programs, and most of the memory that a program copies.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

# By the module that must be imported: what programs with it are likely to do, a statement a line.
# A line that fails there (another version) is left out. They neither open files nor start threads.
EXERCISES = {
    "numpy": """
import numpy as np
rng = np.random.default_rng(0)
a = np.arange(12.0).reshape(3, 4)
square = rng.random((4, 4)) + 4 * np.eye(4)
print(a, a.T @ a, a.sum(axis=0), a.mean(), a.std(), a[a > 2], a[::2, 1:], a.astype(int))
print(np.linalg.solve(square, np.ones(4)), np.linalg.inv(square), np.linalg.det(square))
np.linalg.eig(square), np.linalg.svd(square), np.linalg.norm(a), np.linspace(0, 1, 5), np.sqrt(a)
np.sort(a), np.argsort(a), np.argmax(a), np.cumsum(a), np.unique(a), np.where(a > 2, a, 0)
np.concatenate([a, a]), np.stack([a, a]), np.zeros(3), np.ones((2, 2)), np.exp(a), np.sin(a)
np.dot(a, a.T), np.isclose(a, a), np.allclose(a, a), np.array([[1, 2], [3, 4]]), np.median(a)
np.random.rand(2), np.random.randint(0, 9, 3), np.random.normal(size=3), rng.normal(size=3)
np.polyfit([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], 1), np.array(["a", "b"]), np.array([True, False])
""",
    "scipy.optimize": """
from scipy import optimize
optimize.minimize(lambda x: (x[0] - 1) ** 2, [0.0]), optimize.brentq(lambda x: x - 1, 0, 3)
optimize.curve_fit(lambda x, a: a * x, [1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
optimize.linprog([1.0, 2.0], A_ub=[[-1.0, -1.0]], b_ub=[-1.0])
""",
    "scipy.integrate": """
from scipy import integrate
integrate.quad(lambda x: x * x, 0, 1), integrate.solve_ivp(lambda t, y: -y, (0, 1), [1.0])
""",
    "scipy.stats": """
from scipy import stats
stats.norm.cdf(0.5), stats.norm.ppf(0.9), stats.binom.pmf(1, 3, 0.5), stats.norm.rvs(size=2)
stats.ttest_ind([1.0, 2.0, 3.0], [2.0, 3.0, 5.0]), stats.pearsonr([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
""",
    "sympy": """
from sympy import *
x, y, n = symbols("x y n")
print(solve(x**2 - 5 * x + 6, x), solve([x + y - 3, x - y - 1], [x, y]), solve(Eq(2 * x, 6), x))
print(solve(x**3 - 2 * x + 1, x), integrate(sin(x) ** 2, x), integrate(x**2, (x, 0, 1)))
print(diff(sin(x) * exp(x), x), limit(sin(x) / x, x, 0), series(cos(x), x, 0, 4))
print(expand((x + 1) ** 3), factor(x**2 - 1), simplify((x**2 - 1) / (x - 1)), simplify(x / x**2))
print(Matrix([[1, 2], [3, 4]]).inv(), Matrix([[1, 2], [3, 4]]).det(), Rational(1, 3) + 1, sqrt(8))
print(latex(x**2 / 3), N(pi, 5), (x**2).subs(x, 3), factorint(360), isprime(97), gcd(12, 18))
print(summation(n, (n, 1, 10)), binomial(5, 2), factorial(5), together(1 / x + 1 / y), 3.0 * x)
lambdify(x, x**2)(2), nsolve(cos(x) - x, x, 1), sympify("x + 1"), solve(x**2 + 1 < 5, x)
""",
    "pandas": """
import pandas as pd
frame = pd.DataFrame({"a": [3, 1, 2], "b": ["x", "y", "x"], "c": [1.5, None, 2.5]})
print(frame, frame.describe(), frame.dtypes, frame["a"].sum(), frame["a"].mean(), len(frame))
print(frame.groupby("b")["a"].mean(), frame.groupby("b").sum(numeric_only=True), frame.head(2))
frame[frame["a"] > 1], frame.sort_values("a"), frame.isna().sum(), frame.fillna(0), frame.dropna()
frame.loc[0], frame.iloc[1], frame.T, frame["b"].value_counts(), frame.merge(frame, on="a")
frame["d"] = frame["a"] * 2
frame["b"].str.upper(), frame["a"].apply(lambda value: value + 1), frame.to_dict("records")
pd.concat([frame, frame]), pd.Series([1, 2, 3]).cumsum(), frame.pivot_table(index="b", values="a")
pd.to_datetime(["2024-01-01", "2024-02-01"]).month, pd.date_range("2024-01-01", periods=3)
import io
pd.read_csv(io.StringIO(frame.to_csv(index=False))), frame.to_string(), repr(frame["b"])
""",
    "matplotlib.pyplot": """
import io
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot([0, 1, 2], [0, 1, 4], label="a"), axes.scatter([1], [2]), axes.bar([0, 1], [1, 2])
axes.hist([1, 2, 2, 3]), axes.set_title("a"), axes.set_xlabel("x"), axes.legend(), axes.grid()
figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
plt.close("all")
""",
    "sklearn.linear_model": """
from sklearn.linear_model import LinearRegression, LogisticRegression
x, y = [[float(n), float(n % 3)] for n in range(10)], [n % 2 for n in range(10)]
LinearRegression().fit(x, y).predict(x), LogisticRegression().fit(x, y).score(x, y)
""",
    # No backward(): a process that is forked from one that did it can't do it any more.
    "torch": """
import torch
a = torch.ones(3, 3)
print((a @ a).sum(), torch.randn(2), a.mean(), a.T, a[0], a.tolist())
torch.nn.functional.relu(torch.nn.Linear(3, 1)(a)).sum().item()
""",
}


def exercise() -> None:
    """Run the exercises of those modules that are imported; leaves no output."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        for name, source in EXERCISES.items():
            if name in sys.modules:
                run(source)


def run(source: str) -> list[Exception]:
    """Run an exercise line by line; returns what went wrong."""
    names: dict[str, Any] = {}
    failures = []
    for line in source.splitlines():
        try:
            exec(compile(line, "<exercise>", "exec", dont_inherit=True), names)  # noqa: S102
        except Exception as error:  # noqa: BLE001  (programs do without, then)
            failures.append(error)
    return failures
