# SPDX-License-Identifier: GPL-2.0-or-later
"""Other tools' forms of a start state: which file is of which form, and what is lost in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kevacuate.errors import KevacuateError, instance, named_file
from kevacuate.measure.startfile import StartState
from kevacuate.recording.kev import is_kev
from kevacuate.runs.start_llfree import read_llfree, write_llfree
from kevacuate.runs.start_procdir import is_procdir, read_procdir, write_procdir


class Form(NamedTuple):
    """A form of another tool's."""

    what: str
    write: Callable[[StartState, Path], Path]
    """Where it lies then."""
    read: Callable[[Path], StartState]
    lost: str
    """What it does not carry, a sentence."""


FORMS = {
    ".llfree": Form(
        "a trace for LLFree's replay",
        write_llfree,
        read_llfree,
        "Lost in it: zones, pageblock types, skip bits, per-CPU lists, the order of lists, marks.",
    ),
    ".proc": Form(
        "a folder of copies of /proc files",
        write_procdir,
        read_procdir,
        "Lost in it: which pageblock is of which type, which pages are on per-CPU lists, skip bits, the order of lists.",
    ),
}
"""By the suffix of a file's or folder's name."""


def other_form(path: Path) -> StartState | None:
    """The start state of a file or folder of another form; None if it is of none.

    Raises
    ------
    KevacuateError
        It is of one, and damaged.
    """
    if path.suffix == ".llfree" and path.is_file():
        return read_llfree(path)
    if path.is_dir() and not is_kev(path) and is_procdir(path):
        return read_procdir(path)
    return None


def refuse_target(target: Path) -> None:
    """Refuse a name that no start state can have, before it is made.

    Raises
    ------
    KevacuateError
        Its suffix says no form, or something has that name.
    """
    if target.suffix != ".kev" and target.suffix not in FORMS:
        known = ", ".join(f"NAME{suffix} ({form.what})" for suffix, form in FORMS.items())
        raise KevacuateError(f"{target} says no form of a start state: name it NAME.kev, {known}.")
    if os.path.lexists(target):
        raise KevacuateError(f"{target} exists already: remove it or choose another name.")


def save_start(start: StartState, target: str | Path) -> tuple[Path, str]:
    """Write a start state in the form that its name's suffix says.

    Parameters
    ----------
    start : StartState
        What :func:`kevacuate.start_state` returned.
    target : path
        ``NAME.kev``; ``NAME.llfree``, a trace for LLFree's replay; or ``NAME.proc``, a folder with copies of /proc files.

    Returns
    -------
    Path, str
        Where it lies, and a sentence of what is lost in that form; empty of ``.kev``.

    Raises
    ------
    KevacuateError
        There is no such form; it exists, or cannot be written; or the form cannot hold it.

    Examples
    --------
    >>> import kevacuate
    >>> where, lost = kevacuate.save_start(kevacuate.start_state("my-server.kev"), "used.llfree")
    >>> lost
    'Lost in it: zones, pageblock types, skip bits, per-CPU lists, the order of lists, marks.'
    """
    start, target = instance(start, StartState, "start_state"), named_file(target)
    refuse_target(target)
    if target.suffix == ".kev":
        return start.save(target), ""
    form = FORMS[target.suffix]
    return form.write(start, target), form.lost
