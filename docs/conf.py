# SPDX-License-Identifier: GPL-2.0-or-later
"""How Sphinx makes a site of these pages: ``sphinx-build -W --keep-going docs SITE``. Nothing is fetched from the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kevacuate import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "kevacuate"
author = "the kevacuate authors"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["pictures"]

myst_heading_anchors = 4  # links such as page.md#heading, made of the heading's words as forges make them
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"kevacuate {release}"
html_show_sphinx = False
html_copy_source = False

_WRITTEN: dict[str, list[str]] = {}


def _remember(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """An attribute's docstring as it was written."""
    if what in ("property", "attribute"):
        _WRITTEN[name] = list(lines)


def _restore(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Napoleon takes what stands before a colon in an attribute's first line for its type; here it is a sentence."""
    written = _WRITTEN.get(name, [])
    if what in ("property", "attribute") and not any(line.startswith("---") for line in written):
        lines[:] = written


def setup(app: Sphinx) -> None:
    """Called by Sphinx. Napoleon's own listener has priority 500."""
    app.connect("autodoc-process-docstring", _remember, priority=400)
    app.connect("autodoc-process-docstring", _restore, priority=600)
