# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.report``: the HTML page of a comparison, or of what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kevacuate.errors import KevacuateError, named_file
from kevacuate.measure import Comparison
from kevacuate.measure.permutation import REPEATS
from kevacuate.measure.saved import is_saved, load
from kevacuate.observe.maps import about_recorded, recorded_flows, recorded_run
from kevacuate.policy import PAIR, Policy, parse_policies
from kevacuate.recording import Recording
from kevacuate.reports.page.page import comparison_page, recorded_page, write_page
from kevacuate.runs.compare import compare
from kevacuate.runs.options import ReplayOptions
from kevacuate.workload.opening import recording_of
from kevacuate.workload.toml import is_description

SAMPLES = 200
"""Moments of the map and of the timelines."""

AS_RECORDED = "These are the allocator's states as they were recorded."


def recording_page(recording: Recording, why: str = AS_RECORDED) -> str:
    """The page of what was recorded; *why* there is no replay, a sentence."""
    return recorded_page(about_recorded(recording), recorded_run(recording), recorded_flows(recording), why)


def report(
    what: Comparison | Recording | str | Path | Sequence[str | Path],
    path: str | Path,
    policies: str | Policy | Sequence[str | Policy] | None = None,
    *,
    repeats: int | None = None,
    recorded: bool = False,
    seed: int = 0,
    loop: str = "auto",
    despite_losses: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Write one self-contained HTML page, which opens offline: what ``kevacuate report`` does.

    Parameters
    ----------
    what : Comparison, Recording or path, or sequence of paths
        A comparison (made with ``ReplayOptions(keep=True)`` it has maps), or files of :func:`kevacuate.save`: shown as they are.
        A recording is replayed first, with maps; one that cannot be replayed is shown as it was recorded, and the page says why.
    path : path
        The page to write; an older one is replaced.
    policies : policy or sequence of policies, optional
        Policies to replay a recording under. Default: those that stand side by side by default.
    repeats : int, optional
        Replays of each policy.
    recorded : bool
        Show a recording as it was recorded; replay nothing.
    seed : int
        As of :class:`kevacuate.ReplayOptions`.
    loop : str
        As of :class:`kevacuate.ReplayOptions`.
    despite_losses : bool
        Replay a recording that lost events.
    progress : callable, optional
        As of :func:`kevacuate.compare`.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    KevacuateError
        *what* cannot be read; what is already made is to be replayed; or the page cannot be written.

    Examples
    --------
    >>> import kevacuate
    >>> result = kevacuate.compare("my-server.kev", "mainline", repeats=1, options=kevacuate.ReplayOptions(keep=True))
    >>> kevacuate.report(result, "my-server.html")
    PosixPath('my-server.html')
    >>> kevacuate.report("my-server.kev", "recorded.html", recorded=True).read_text()[:15]
    '<!doctype html>'
    """
    target = named_file(path)
    made = _made(what)
    if made is None:
        options = ReplayOptions(
            seed=seed, loop=loop, despite_losses=despite_losses, keep=True, samples=SAMPLES
        )
        chosen = parse_policies(PAIR if policies is None else policies)
        source = _one_recording(what)
        text = _recording_page(
            source, chosen, REPEATS if repeats is None else repeats, recorded, options, progress
        )
    elif policies or repeats or recorded:
        named = what if isinstance(what, str | Path) else "This"
        raise KevacuateError(
            f"{named} is a saved result, which is shown as it is: leave out --policy, --repeats and --recorded."
        )
    else:
        text = comparison_page(made)
    write_page(target, text)
    return target


def _made(what: object) -> Comparison | None:
    """The comparison that *what* is, or names by files; None where it names a recording."""
    if isinstance(what, Comparison):
        return what
    if isinstance(what, Recording):
        return None
    if isinstance(what, list | tuple) and not what:
        raise KevacuateError("There is nothing to show: name a recording, or files of saved results.")
    paths = [named_file(one) for one in (what if isinstance(what, list | tuple) else [what])]
    saved = [path for path in paths if path.is_file() and not is_description(path)]
    for other in (path for path in saved if not is_saved(path)):
        Recording.open(other)  # names what it is instead
    if saved and len(saved) < len(paths):
        raise KevacuateError(
            "Files and recordings cannot be shown together: save a comparison of the recording first."
        )
    if len(paths) > 1 and not saved:
        raise KevacuateError("One recording makes one page: name a single recording.")
    return load(*saved) if saved else None


def _one_recording(what: object) -> Recording:
    """The recording that *what* is or names."""
    if isinstance(what, list | tuple):
        return recording_of(what[0])
    return recording_of(what)  # type: ignore[arg-type]  # which refuses anything else in words


def _recording_page(
    source: Recording,
    policies: list[Policy],
    repeats: int,
    recorded: bool,
    options: ReplayOptions,
    progress: Callable[[str, int, int], None] | None,
) -> str:
    """The page of a recording: of a comparison made now, or of what was recorded."""
    if recorded:
        return recording_page(source)
    if source.start is None:
        return recording_page(
            source, "The recording holds no state to start a replay from: this is what it recorded."
        )
    if source.lost and not options.despite_losses:
        why = f"{source.lost.sentence}, so the demand was not replayed (--despite-losses does it): this is what was recorded."
        return recording_page(source, why)
    tell = progress or (lambda name, done, total: None)
    result = compare(
        source,
        policies,
        repeats=repeats,
        options=options,
        progress=lambda name, done, total: tell(f"replaying {name}", done, total),
    )
    tell("drawing the page", 0, 0)
    return comparison_page(result)
