# SPDX-License-Identifier: GPL-2.0-or-later
"""A widget of lines that draws anew only those that have changed: a map is large, and changes little."""

from __future__ import annotations

from rich.text import Text
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget


class Lines(Widget):
    """Shows the lines of a text from its top; what does not fit is cut."""

    class Resized(Message):
        """The widget has another size now: its text must be made anew."""

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self.lines: list[Text] = []

    def show_text(self, text: Text) -> None:
        """Show *text* instead of what was shown."""
        before, self.lines = self.lines, list(text.split("\n", allow_blank=True))
        width = self.content_size.width
        missing = Text()
        changed = [
            y
            for y in range(max(len(before), len(self.lines)))
            if (before[y] if y < len(before) else missing)
            != (self.lines[y] if y < len(self.lines) else missing)
        ]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def on_resize(self) -> None:
        """Tell the application."""
        self.post_message(self.Resized())

    def render_line(self, y: int) -> Strip:
        """One line of the content."""
        width = self.content_size.width
        if y >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        segments = self.lines[y].render(self.app.console)
        return Strip(segments).apply_style(self.rich_style).adjust_cell_length(width, self.rich_style)
