# SPDX-License-Identifier: GPL-2.0-or-later
"""Per cent is written in one way: a number, a blank, the sign. Held against the whole source, and what the pages show."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kevacuate
from kevacuate.percent import percent

PACKAGE = Path(kevacuate.__file__).parent
ROOT = PACKAGE.parents[1]
GLUED = re.compile(r"\d%(?![a-z(\w])")
"""A number with the sign right behind it; ``%d`` of a print fmt is none."""
NOT_PROSE = {
    "recording/printfmt.py",
    "recording/eventparse.py",
    "recording/formats.py",
    "recording/gfptext.py",
}
"""Files whose strings are the kernel's formats."""
SYNTAX = "workload/"
"""The room whose descriptions take shares as 25%."""
TABLES = {"fidelity.md", "evacuation.md", "workload.md"}
"""Pages made anew with the figures, with tables of 80 columns, or with that syntax."""


@pytest.mark.parametrize(
    ("share", "digits", "signed", "text"),
    [
        (1 / 3, 0, False, "33 %"),
        (0.5, 2, False, "50.00 %"),
        (0.105, 1, True, "+10.5 %"),
        (-1, 0, True, "-100 %"),
        (0, 0, False, "0 %"),
    ],
)
def test_a_share_in_per_cent(share: float, digits: int, signed: bool, text: str) -> None:
    assert percent(share, digits, signed=signed) == text


def glued(path: Path) -> Iterator[str]:
    """Strings with a number glued to the sign, and values that Python's own ``%`` format prints so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            for part, after in zip(node.values, [*node.values[1:], None], strict=True):
                if isinstance(part, ast.FormattedValue):
                    spec = ast.unparse(part.format_spec) if part.format_spec else ""
                    sign = isinstance(after, ast.Constant) and str(after.value).startswith("%")
                    if sign or spec.rstrip("'\"").endswith("%"):
                        yield f"{path.name}:{node.lineno}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and GLUED.search(node.value):
            yield f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_source_glues_the_sign_to_the_number(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    if name not in NOT_PROSE and not name.startswith(SYNTAX):
        assert list(glued(path)) == []


def test_both_ways_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text('a = f"{b:.0%}"\nc = f"{b}%"\nd = "5% of"\ne = f"{b} %"\ng = "5 % of"\n')
    assert sorted(set(glued(path))) == ["x.py:1", "x.py:2", "x.py:3"]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_no_page_glues_the_sign_to_the_number(page: Path) -> None:
    if page.name not in TABLES:
        assert GLUED.findall(page.read_text(encoding="utf-8")) == []
