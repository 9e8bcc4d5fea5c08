# SPDX-License-Identifier: GPL-2.0-or-later
"""How Sphinx makes a site of these pages: ``sphinx-build -W --keep-going docs SITE``. Nothing is fetched from the network."""

from __future__ import annotations

from kevacuate import __version__

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
