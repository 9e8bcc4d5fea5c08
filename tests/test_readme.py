# SPDX-License-Identifier: GPL-2.0-or-later
"""What the README shows is what the commands print."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_readme_shows_what_is_printed():
    spec = importlib.util.spec_from_file_location("regenerate_readme", ROOT / "docs" / "regenerate_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.README.read_text()
    assert module.regenerated(text) == text, "run: python docs/regenerate_readme.py"
