# SPDX-License-Identifier: GPL-2.0-or-later
"""What `kevacuate import` says of a recording that it made: what was read, and what was lost, guessed or dropped on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kevacuate.kernel.events import OWNERSHIP_FIRST
from kevacuate.kernel.versions import parse_version
from kevacuate.recording.ringbuf import NO_FORMAT
from kevacuate.reports.story.words import plural

About = Mapping[str, Any]

TYPED = {"MM_PAGE_ALLOC", "MM_PAGE_ALLOC_ZONE_LOCKED", "MM_PAGE_PCPU_DRAIN", "MM_PAGE_ALLOC_EXTFRAG"}
"""Kinds of events that hold a migratetype's number."""

NOTHING_BEFORE = (
    "The file does not say what was in memory when it began, so the recording cannot be replayed: kevacuate record takes that "
    "snapshot. Events, their counts and rates are all there."
)


def _lost(about: About) -> str:
    least = "at least " if about["lost_events_at_least"] else ""
    lost = least + ", ".join(f"{count:,} on CPU {cpu}" for cpu, count in about["lost_events"].items())
    return (
        about["lost_events"]
        and f"Events were lost before they were written ({lost}): whatever is made of this recording has holes."
    )


def _losses_hidden(about: About) -> str:
    if about.get("losses_shown", True):
        return ""
    if "pid" in about.get("lines_lack", ()):
        return "A kernel log does not say whether events were lost."
    return "Whether events were lost is not known: perf script prints losses only with --show-lost-events."


def _not_read(about: About) -> str:
    text = "lines_not_read" in about
    what, why = (
        ("line", "values are missing, or the line is in no form that is read")
        if text
        else ("event", "its format lacks a field that is needed")
    )
    unread = dict(about.get("events_not_read", {}))
    unnamed = unread.pop(NO_FORMAT, 0)
    lines = [
        f"{count:,} {what}{'s' if count > 1 else ''} of {name} could not be read: {why}."
        for name, count in unread.items()
    ]
    if unnamed:
        lines.append(
            f"{unnamed:,} event{'s' if unnamed > 1 else ''} could not be read: no format file says what they are."
        )
    return "\n".join(lines)


def _joined(about: About) -> str:
    count = about.get("lines_joined", 0)
    if not count:
        return ""
    events = "1 event stood" if count == 1 else f"{count:,} events stood"
    return f"{events} on several lines, as mail programs wrap them; the lines were joined."


def _unended(about: About) -> str:
    if not about.get("last_line_unended"):
        return ""
    return (
        "The file's last line has no end: if the file was cut off, the values of its last event may be, too."
    )


def _lines_lack(about: About) -> str:
    lacks = about.get("lines_lack", ())
    if "cpu" not in lacks:
        return ""
    if "pid" in lacks:
        return "Its lines name no CPU and no task: events stand on CPU 0, without a process id."
    return "It has lines that name no CPU: those events stand on CPU 0."


def _kernel(about: About) -> str:
    how, (first, last) = about.get("kernel_known"), about.get("kernel_range", (None, None))
    if how == "assumed":
        return (
            "The file does not name its kernel: names and numbers are read as those of Linux 7.2. "
            "--kernel VERSION says another."
        )
    if how == "proven" and last:
        between = f"{first} to {last}" if first else f"{last} or older"
        return f"The file does not name its kernel. Its lines are those of Linux {between}, and are read as such."
    if how == "proven" and first:
        return (
            f"The file does not name its kernel. Its lines are those of Linux {first} or later, and are read as those of "
            "Linux 7.2. --kernel VERSION says another."
        )
    return ""


def _migratetypes(about: About) -> str:
    if (
        about.get("migratetypes_assumed")
        and about["kernel_range"][1]
        and TYPED & set(about["events_by_kind"])
    ):
        return (
            "Its migratetypes are read as those of Linux 4.4 or later, where 1 is movable (until 4.3: reclaimable): "
            "--kernel VERSION says another."
        )
    if not about.get("old_migratetypes"):
        return ""
    return "Migratetypes are renumbered: until Linux 4.3, 1 was reclaimable and 2 was movable."


def _ownership(about: About) -> str:
    if not about.get("change_ownership_unknown"):
        return ""
    last = parse_version(about.get("kernel_range", (None, None))[1] or "")
    may = "may be one that prints" if last and last >= OWNERSHIP_FIRST else "prints"
    return f"This kernel {may} change_ownership=0 whatever happened (until Linux 3.11): claims cannot be told from steals."


def _flags(about: About) -> str:
    said = []
    if about.get("gfp_numbers_unmapped"):
        said.append(
            "Its GFP flags are numbers, read as those of Linux 7.2: give the kernel's own with --kernel VERSION or --formats DIR."
        )
    if about.get("gfp_numbers_not_read"):
        said.append(
            f"The GFP flags of {plural(about['gfp_numbers_not_read'], 'event')} are numbers of an older kernel and were not "
            "read: --kernel VERSION says of which."
        )
    if about.get("results_not_read"):
        said.append(
            f"{plural(about['results_not_read'], 'result')} of compaction are numbers of an older kernel and were not read: "
            "--kernel VERSION says of which."
        )
    return "\n".join(said)


def _names(about: About) -> str:
    said, dropped = [], about.get("names_not_known", ())
    names = [name for name in dropped if not name[:1].isdigit()]
    if numbers := [name for name in dropped if name not in names]:
        said.append(
            f"Flags without a name were dropped, as their meaning is not known: {', '.join(numbers)}. --kernel VERSION says it."
        )
    if names:
        said.append(f"Names that Linux 7.2 does not have were dropped: {', '.join(names)}.")
    return "\n".join(said)


def _clock(about: About) -> str:
    return (
        "The file does not tell this buffer's clock: compare its times with no other recording's."
        if "clock" in about["lacks"]
        else ""
    )


def _states(about: About) -> str:
    return NOTHING_BEFORE if "states" in about["lacks"] else ""


_SAID: tuple[Callable[[About], str], ...] = (
    _lost, _losses_hidden, _not_read, _unended, _joined, _lines_lack, _clock, _states, _kernel, _migratetypes, _ownership, _flags,
    _names,
)  # fmt: skip


def imported_text(about: About) -> str:
    """What was made, in a few sentences, a line each.

    Parameters
    ----------
    about : mapping
        What :func:`kevacuate.recording.importers.import_recording` returns.
    """
    first = (
        f"{about['recording']}: {about['events']:,} event{'' if about['events'] == 1 else 's'} over {about['seconds']:.3f} s of "
        f"{about['cpus']} CPU{'' if about['cpus'] == 1 else 's'}, from {about['form']}."
    )
    return "\n".join([first, *(text for say in _SAID if (text := say(about)))])
