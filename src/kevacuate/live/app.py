# SPDX-License-Identifier: GPL-2.0-or-later
"""The terminal application: keys, layout, and one timer that asks for the next view."""

from __future__ import annotations

import signal
import threading
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer

from kevacuate.errors import KevacuateError
from kevacuate.live.lines import Lines
from kevacuate.live.text import SORTS, Options, events_text, free_text, head_text, map_text, queue_text
from kevacuate.live.view import Source, View

WIDE = 120
"""Columns from which the side panel is wide."""


class WatchApp(App[None]):
    """Shows a source's views.

    Parameters
    ----------
    source : Source
        Where views come from; closed by the caller.
    interval : float
        Seconds between two views.
    duration : float
        Seconds after which the application ends by itself; 0: never.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 2; padding: 0 1; background: $panel; }
    Horizontal { height: 1fr; }
    #map { width: 1fr; height: 1fr; padding: 0 1; }
    #side { width: 34; height: 1fr; padding: 0 1; border-left: solid $panel; }
    #events { height: 8; padding: 0 1; border-top: solid $panel; }
    #free { height: 7; }
    .tall #free { height: 12; }
    #queue { height: 1fr; margin-top: 1; }
    .tall #events { height: 18; }
    .wide #side { width: 52; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("ctrl+c", "quit", ""),
        ("space", "pause", "Pause"),
        ("s", "sort", "Sort"),
        ("plus,equals_sign", "zoom(1)", "Zoom in"),
        ("minus", "zoom(-1)", "Zoom out"),
        ("down", "scroll_map(1)", "Down"),
        ("up", "scroll_map(-1)", "Up"),
        ("pagedown", "scroll_map(10)", ""),
        ("pageup", "scroll_map(-10)", ""),
        ("right", "seek(1)", ""),
        ("left", "seek(-2)", ""),
        ("home", "seek(-1000000)", ""),
        ("end", "seek(1000000)", ""),
    ]

    def __init__(self, source: Source, interval: float = 1.0, duration: float = 0.0) -> None:
        super().__init__()
        self.source, self.interval, self.duration = source, interval, duration
        self.options = Options()
        self.view: View | None = None
        self.error: KevacuateError | None = None
        self.ended_by: int | None = None
        """The number of the signal that ended the application."""

    def compose(self) -> ComposeResult:
        """Head, map and side, events, keys."""
        yield Lines("head")
        with Horizontal():
            yield Lines("map")
            with Vertical(id="side"):
                yield Lines("free")
                yield Lines("queue")
        yield Lines("events")
        yield Footer()

    def on_mount(self) -> None:
        """Start the timer."""
        self.animation_level = "none"
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda ended_by, _: self.end(ended_by))
        self.set_interval(self.interval, self.tick)
        if self.duration:
            self.set_timer(self.duration, self.exit)
        self.call_after_refresh(self.tick)

    def end(self, ended_by: int) -> None:
        """End because of a signal."""
        self.ended_by = ended_by
        self.exit()

    def tick(self) -> None:
        """Ask for the next view and show it."""
        if not self.options.paused or self.view is None:
            self.advance()

    def advance(self) -> None:
        """Show the next view; an error ends the application."""
        try:
            self.view = self.source.poll()
        except KevacuateError as error:
            self.error = error
            self.exit()
            return
        self.show()

    def show(self) -> None:
        """Draw the view in the room there is."""
        if self.view is None:
            return
        for name in ("head", "map", "free", "queue", "events"):
            widget = self.query_one(f"#{name}", Lines)
            width, height = widget.content_size
            if width < 2 or height < 1:
                continue
            widget.show_text(self._text(name, self.view, width, height))

    def _text(self, name: str, view: View, width: int, height: int) -> Text:
        """What a widget shows."""
        if name == "head":
            return head_text(view, self.options, width)
        if name == "map":
            return map_text(view, self.options, width, height)
        if name == "free":
            return free_text(view, width, height)
        if name == "queue":
            return queue_text(view, self.options, height)
        return events_text(view, width, height)

    def on_resize(self, event: events.Resize) -> None:
        """Give the side and the events the room that fits."""
        self.screen.set_class(event.size.width >= WIDE, "wide")
        self.screen.set_class(event.size.height >= 40, "tall")

    def on_lines_resized(self) -> None:
        """Make the texts anew for the room there is now."""
        self.show()

    def action_pause(self) -> None:
        """Stop or go on."""
        self.options.paused = not self.options.paused
        self.show()

    def action_sort(self) -> None:
        """Another order of the queue."""
        self.options.sort = (self.options.sort + 1) % len(SORTS)
        self.show()

    def action_zoom(self, by: int) -> None:
        """Fewer or more blocks in a cell; below one block a cell, all again."""
        self.options.zoom = max(self.options.zoom - by, 0) if self.options.zoom else (1 if by > 0 else 0)
        self.show()

    def action_scroll_map(self, rows: int) -> None:
        """Move the map."""
        self.options.row += rows
        self.show()

    def action_seek(self, moments: int) -> None:
        """Go to another moment of a playback."""
        if self.source.playback:
            self.source.seek(moments if moments < 0 else moments - 1)
            self.advance()
