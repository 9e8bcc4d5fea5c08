# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables of answers: a title on the left, rows without lines between them."""

from __future__ import annotations

from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.table import Table


def plain_table(title: str, names: Collection[str], numbers: Collection[str] = ()) -> Table:
    """An empty table with these columns, those of *numbers* on the right."""
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return table
