# SPDX-License-Identifier: GPL-2.0-or-later
"""CONTRIBUTING.md leads to places that exist: every file that it names, every name in it, every room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import kevacuate

ROOT = Path(__file__).parents[2]
PACKAGE = Path(kevacuate.__file__).parent
PAGE = ROOT / "CONTRIBUTING.md"
MENTION = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|js|md|json)|(?:[\w.-]+/)+)(?::(\w+))?`")
MOST_WORDS = 25


def mentions() -> list[tuple[str, str]]:
    """(file or folder, name in it or empty) of everything that the page names."""
    return sorted(
        {(found[1], found[2] or "") for found in MENTION.finditer(PAGE.read_text(encoding="utf-8"))}
    )


def source_files(page: Path) -> set[str]:
    """Every Python file, by its path, that a page names."""
    return {
        one[1]
        for one in MENTION.finditer(page.read_text(encoding="utf-8"))
        if re.search(r"/\w+\.py$", one[1])
    }


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_page_names_source_files_that_exist(page: Path) -> None:
    assert [name for name in sorted(source_files(page)) if found(name) is None] == []


def defined(path: Path) -> set[str]:
    """The functions, classes and constants of a source file."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def found(name: str) -> Path | None:
    """The file or folder, below the repository or the package."""
    return next((base / name for base in (ROOT, PACKAGE) if (base / name).exists()), None)


@pytest.mark.parametrize(("name", "function"), mentions())
def test_what_the_page_names_exists(name: str, function: str) -> None:
    path = found(name)
    assert path is not None, name
    if function:
        assert function in defined(path)


def test_the_page_names_a_good_number_of_places() -> None:
    assert len(mentions()) > 80
    assert sum(bool(function) for _, function in mentions()) > 15
    assert found("mm/nothing.py") is None


def test_every_room_is_on_the_page_in_the_order_of_floors() -> None:
    from test_architecture import FLOORS

    rows = re.findall(r"^\| `(\w+)/` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(rows) == FLOORS


def test_its_sentences_are_short() -> None:
    from test_docs_sentences import too_long

    assert too_long(PAGE, MOST_WORDS) == []
    assert too_long(ROOT / "docs" / "design.md", MOST_WORDS) == []
