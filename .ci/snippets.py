"""A pytest plugin that runs the Python examples of the Markdown pages and the docstrings.

The snippets of one page share their names, as if they stood in one script, and every page starts
afresh. In a page each `python` fence runs; sessions with `>>>` are compared with what they print.
In a docstring `>>>` and `.. code-block:: python` run.
"""

from collections.abc import Iterator
from doctest import ELLIPSIS
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.document import PythonDocStringDocument
from sybil.example import NotEvaluated
from sybil.parsers import markdown, rest

ROOT = str(Path(__file__).resolve().parent.parent)


def as_script(namespace: dict[str, Any]) -> None:
    """Name the page's namespace `__main__`, as a script's is: its classes then pickle by value."""
    namespace["__name__"] = "__main__"


class Docstrings(PythonDocStringDocument):
    """The docstrings of a module, with the module's own names in reach, as doctest has it."""

    def import_document(self, example: Example) -> None:
        """Import the module by its name: Sybil's own way would load it a second time."""
        names = Path(self.path).relative_to(ROOT).with_suffix("").parts
        module = import_module(".".join(names[names.index("src") + 1 :]).removesuffix(".__init__"))
        self.namespace.update(vars(module))
        as_script(self.namespace)
        self.pop_evaluator(self.import_document)
        raise NotEvaluated


pages = Sybil(
    parsers=[markdown.PythonCodeBlockParser(doctest_optionflags=ELLIPSIS)],
    patterns=["*.md"],
    path=ROOT,
    setup=as_script,
)
docstrings = Sybil(
    parsers=[rest.PythonCodeBlockParser(), rest.DocTestParser(optionflags=ELLIPSIS)],
    patterns=["*.py"],
    excludes=["conf.py"],
    path=ROOT,
    document_types={".py": Docstrings},
)
pytest_collect_file = (pages + docstrings).pytest()


@pytest.fixture(scope="session", autouse=True)
def ray_is_shut_down() -> Iterator[None]:
    """End the Ray that a snippet started; the registries leave it to whoever started it."""
    yield
    import ray  # only now: most runs of a single page need none

    ray.shutdown()
