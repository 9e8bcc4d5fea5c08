# SPDX-License-Identifier: GPL-2.0-or-later
"""gfp flags in a cell of a table."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text


class Flags:
    """gfp flags that break between two of them where the line is full; within one only where the column is narrower than it."""

    def __init__(self, text: str) -> None:
        self.parts = [f"{part}|" for part in text.split("|")]
        self.parts[-1] = self.parts[-1].removesuffix("|")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(max(map(len, self.parts)), sum(map(len, self.parts)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.within(options.max_width), overflow="fold")

    def within(self, width: int) -> str:
        """The flags in lines of at most *width* columns; a longer flag has its own line."""
        lines = [""]
        for part in self.parts:
            if lines[-1] and len(lines[-1]) + len(part) > width:
                lines.append("")
            lines[-1] += part
        return "\n".join(lines)
