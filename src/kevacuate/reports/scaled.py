# SPDX-License-Identifier: GPL-2.0-or-later
"""What scaling a recording kept, as a table and in sentences."""

from __future__ import annotations

from rich.table import Table

from kevacuate.measure.shape import Figure
from kevacuate.runs.scale import Scaled


def _value(value: float, unit: str) -> str:
    """A figure with its unit."""
    return f"{value:,.2f}{' ' * bool(unit)}{unit}"


def scaled_table(scaled: Scaled) -> Table:
    """Each figure of the recorded demand, of the scaled one, and their distance."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("recorded", "scaled", "distance"):
        table.add_column(name, justify="right")
    for one in scaled.figures:
        table.add_row(
            one.label, _value(one.before, one.unit), _value(one.after, one.unit), f"{one.distance:.3f}"
        )
    return table


def scaled_sentences(scaled: Scaled) -> list[str]:
    """What was made, and which figure is farthest from the recording's."""
    recording = scaled.recording
    pages = sum(zone.managed for zone in recording.machine.zones)
    farthest: Figure = max(scaled.figures, key=lambda one: one.distance)
    return [
        f"{recording.path}: {scaled.rows:,} rows in {scaled.seconds:,.1f} s of virtual time, on {pages:,} pages and "
        f"{recording.machine.cpus} {'CPU' if recording.machine.cpus == 1 else 'CPUs'}.",
        f"Farthest from the recording is: {farthest.label} (distance {farthest.distance:.3f} of 1).",
    ]
