# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in a TOML file something stands: the standard library's reader forgets the lines."""

from __future__ import annotations

import re

_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")


def _bare(name: str) -> str:
    """A dotted name without its quotes and blanks."""
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def line_of(text: str, path: str, value: str = "") -> int:
    """The line, from 1 on, of a key or table, dotted (``knobs.pool``), and from there on of a value's text.

    An inline table's keys are found at the table's own line; what is not found at all is at line 1.
    """
    table, lines = "", text.splitlines()
    found = 0
    for number, line in enumerate(lines, 1):
        head = _TABLE.fullmatch(line)
        key = line.partition("=")[0] if "=" in line else ""
        here = _bare(head[1]) if head else ""
        if head:
            table = here
        elif key.strip():
            here = _bare(f"{table}.{key}" if table else key)
        if here and here == path:
            found = number
            break
    if not found:
        above = path.rpartition(".")[0]
        return line_of(text, above, value) if above else 1
    if not value:
        return found
    return next((n for n in range(found, len(lines) + 1) if value in lines[n - 1]), found)
