"""Settings of the documentation; `nox -s docs` builds it."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".ci"))

from workspace import read_workspace

project = "LLM services"
author = "The llm-services authors"
copyright = "2026, The llm-services authors"  # noqa: A001 Sphinx reads this name

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# `name` in a docstring links to what is documented under it, and is shown as code either way.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
# The adapters of llm_transforms need them to be imported, and they are large.
autodoc_mock_imports = ["tensordict", "torch", "torchrl", "trl", "verifiers"]
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = project

for _package in read_workspace().packages:
    if not (Path(__file__).parent / "packages" / f"{_package}.md").is_file():
        raise FileNotFoundError(f"docs/packages/{_package}.md is missing: each package has a page.")


def keep_colons(
    _app: Sphinx, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    """Keep napoleon from reading "What it is: more" as "type: description" of an attribute.

    It looks at the first line with text alone, so an empty comment is put before it.
    """
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]


def leave_out_fields(_app: Sphinx, _what: str, _name: str, obj: Any, *_: Any) -> bool | None:
    """Leave out the fields of a NamedTuple: its docstring has them, as "Attributes"."""
    return True if isinstance(obj, type(_Field.field)) else None


class _Field(NamedTuple):
    field: None


def name_errors_in_full(
    _app: Sphinx, _what: str, name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    """Name errors of a package as what it exports: two packages have an InvalidArgumentError."""
    package, _, _ = name.partition(".")
    exported = vars(sys.modules[package])
    for index, line in enumerate(lines):
        error = line.removeprefix(":raises ").partition(":")[0]
        if line.startswith(":raises ") and error in exported:
            lines[index] = line.replace(error, f"~{package}.{error}", 1)


def setup(app: Sphinx) -> None:
    """Connect the hooks; napoleon's has the default priority, 500."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    app.connect("autodoc-process-docstring", name_errors_in_full, priority=600)
    app.connect("autodoc-skip-member", leave_out_fields)
