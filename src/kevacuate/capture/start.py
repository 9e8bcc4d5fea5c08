# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes before a recording: privileges, tracefs, the leftovers of recorders that were killed, the events."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from kevacuate.capture.command import check_asked, give_to_user
from kevacuate.capture.events import choose_events
from kevacuate.capture.finish import salvage_all
from kevacuate.capture.options import RecordOptions
from kevacuate.capture.session import Session
from kevacuate.capture.status import Result, Status
from kevacuate.capture.tracefs import find_tracefs, mount_tracefs, remove_instance, stale_instances
from kevacuate.errors import KevacuateError


def need_root() -> None:
    """Refuse without root.

    Raises
    ------
    KevacuateError
        Saying what to do.

    """
    if os.geteuid() != 0:
        raise KevacuateError(
            "Recording needs root, for tracefs and /proc/kpageflags: run it with sudo (COMMAND still runs as you)."
        )


def start_recording(
    options: RecordOptions,
    report: Callable[[Status], None] = lambda status: None,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """Record the running machine.

    Parameters
    ----------
    options : RecordOptions
        What and how.
    report : callable, optional
        Called with a Status a few times a second.
    say : callable, optional
        Called with a sentence about what was found or changed on the machine.

    Raises
    ------
    KevacuateError
        Recording is not possible here, or failed.

    """
    check_asked(options)
    need_root()
    tracefs = find_tracefs()
    if tracefs is None:
        tracefs = mount_tracefs()
        say(f"tracefs was not mounted: mounted it at {tracefs}.")
    clean_up(tracefs, options.target.parent, say)
    events = choose_events(tracefs, light=options.light, groups=options.groups)
    if events.missing:
        say(f"This kernel does not have {', '.join(events.missing)}: recorded without.")
    result = Session(options, tracefs, events, report).run()
    give_to_user(result.target)
    return result


def clean_up(tracefs: Path, directory: Path, say: Callable[[str], None]) -> None:
    """Remove the instances and save the recordings that killed recorders left."""
    for instance in stale_instances(tracefs):
        gone = remove_instance(instance, 1.0)
        say(
            f"{instance} was left by a recorder that was killed: {'removed' if gone else 'it cannot be removed'}."
        )
    for found in salvage_all(directory):
        if found.made is not None:
            give_to_user(found.made)
        say(found.sentence)
