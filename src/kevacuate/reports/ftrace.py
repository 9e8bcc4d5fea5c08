# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording as ftrace text: the lines that the kernel's ``trace`` file and ``trace-cmd report -t`` show.

What a recording does not keep is not made up. Lines have no task name (``<...>``, as ftrace prints one it has
forgotten), no interrupt flags, and of an event's values only those that a recording keeps; ``page=`` shows the
pfn, as ``trace-cmd report`` does, and a page-table entry only the pfn's bits of it. Times have nanoseconds, so that
an import gives back the same events. States and losses are not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO

from kevacuate.recording import EventChunk, Machine, Recording
from kevacuate.recording.eventtext import Facts, print_events
from kevacuate.recording.quality import events_only

CHUNK_ROWS = 1 << 16

_HEADING = """\
#           TASK-PID     CPU#     TIMESTAMP  FUNCTION
#              | |         |         |         |
"""


def header(machine: Machine, name: str) -> str:
    """The comment lines at the top: ftrace's own, and what an import can use of the machine."""
    lines = ["# tracer: nop", "#", f"# exported by kevacuate from {' '.join(name.split())}"]
    assumed = machine.extra.get("assumed", ())
    facts = {
        "kernel": machine.kernel,
        "arch": machine.arch,
        "clock": machine.clock,
        "cpus": machine.cpus,
        "zones": ",".join(machine.zone_names),
        "page_size": machine.page_size,
        "pageblock_order": machine.pageblock_order,
        "change_ownership": "unknown" if machine.extra.get("change_ownership_unknown") else "",
    }
    lines += [f"# {key} {value}" for key, value in facts.items() if value != "" and key not in assumed]
    return "\n".join([*lines, "#", _HEADING])


def event_lines(chunk: EventChunk, facts: Facts) -> list[str]:
    """One line per event, without its end."""
    stamps = zip(
        chunk.pid.tolist(), chunk.cpu.tolist(), chunk.ts.tolist(), print_events(chunk, facts), strict=True
    )
    return [
        f"{_task(pid):>23} [{cpu:03d}] {ts // 1_000_000_000:5d}.{ts % 1_000_000_000:09d}: {event}"
        for pid, cpu, ts, event in stamps
    ]


def _task(pid: int) -> str:
    """TASK-PID; a process that is not known is ``<...>-0``, which ftrace never prints: its 0 is ``<idle>``."""
    if pid == 0:
        return "<idle>-0"
    return f"<...>-{max(pid, 0)}"


def ftrace_text(recording: Recording) -> Iterator[tuple[str, int]]:
    """The text in pieces, each with the number of events in it."""
    machine = recording.machine
    facts = Facts(machine.zone_names, machine.pageblock_order)
    yield header(machine, recording.path.name), 0
    for chunk in recording.events(chunk_rows=CHUNK_ROWS):
        yield "\n".join([*event_lines(chunk, facts), ""]), events_only(chunk).rows


def write_ftrace(recording: Recording, out: IO[bytes], progress: Callable[[int], None] | None = None) -> int:
    """Write a recording's events as ftrace text; the number of events.

    Parameters
    ----------
    recording : Recording
        What to write.
    out : binary file
        Where to.
    progress : callable, optional
        Called with the number of events written so far.

    """
    done = 0
    for text, events in ftrace_text(recording):
        out.write(text.encode())
        done += events
        if progress is not None:
            progress(done)
    return done
