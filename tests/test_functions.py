# SPDX-License-Identifier: GPL-2.0-or-later
"""No function is longer than what one can take in at a glance."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kevacuate

PACKAGE = Path(kevacuate.__file__).parent
MOST_LINES = 40
"""Lines of a function from its `def` on, without the docstring, which says what of arguments and errors must be said."""
ONE_LINE_EACH = "a list: one line for each array, field or argument"
COMPILED_LOOP = (
    "a compiled loop whose many local variables would go through memory if a part of it were another function"
)
LONGER = {
    "decode._sub_buffer": COMPILED_LOOP,
    "loop.drain": COMPILED_LOOP,
    "layout.build_state": ONE_LINE_EACH,
    "machine.__init__": ONE_LINE_EACH,
    "tables.new_tables": ONE_LINE_EACH,
    "level._begin": ONE_LINE_EACH,
}
"""File and function that may be longer, and why."""


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of every function in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
            said = first.end_lineno - first.lineno + 1 if first is not None and first.end_lineno else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - said


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_function_is_too_long(path: Path) -> None:
    found = {f"{path.stem}.{name}": lines for name, lines in functions(path) if lines > MOST_LINES}
    assert not set(found) - set(LONGER), f"{found}: split it by what it does"
