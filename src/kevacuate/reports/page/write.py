# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.write_report``: the HTML page of a comparison, or of what was recorded."""

from __future__ import annotations

from pathlib import Path

from kevacuate.measure import Comparison
from kevacuate.observe.maps import about_recorded, recorded_flows, recorded_run
from kevacuate.recording import Recording
from kevacuate.reports.page.page import comparison_page, recorded_page, write_page

AS_RECORDED = "These are the allocator's states as they were recorded."


def recording_page(recording: Recording, why: str = AS_RECORDED) -> str:
    """The page of what was recorded; *why* there is no replay, a sentence."""
    return recorded_page(about_recorded(recording), recorded_run(recording), recorded_flows(recording), why)


def write_report(what: Comparison | Recording | str | Path, path: str | Path) -> Path:
    """Write one self-contained HTML page, as ``kevacuate report`` does.

    Parameters
    ----------
    what : Comparison, Recording or path
        A comparison (made with ``ReplayOptions(keep=True)`` it has maps), or a recording, which is shown as it was recorded.
    path : path
        The page to write; an older one is replaced.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    KevacuateError
        The recording cannot be read, or the page not be written.
    """
    target = Path(path)
    page = comparison_page(what) if isinstance(what, Comparison) else recording_page(Recording.of(what))
    write_page(target, page)
    return target
