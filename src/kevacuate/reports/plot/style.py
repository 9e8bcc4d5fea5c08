# SPDX-License-Identifier: GPL-2.0-or-later
"""How every figure looks: colours that the colour-blind tell apart, sizes, and output that is the same every time.

The colours are Okabe and Ito's where a thing has one of its own, and the same as the HTML page's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kevacuate.errors import KevacuateError, instance
from kevacuate.measure import Comparison, Run
from kevacuate.recording.atomic_write import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FREE, MOVABLE, UNMOVABLE, RECLAIMABLE = "#e3e7ec", "#56b4e9", "#d55e00", "#009e73"
MIXED, RESERVED, IN_USE = "#8e3b8c", "#b3b9c1", "#c9a227"
CONTENT_COLOURS = {
    "free": FREE, "movable": MOVABLE, "unmovable": UNMOVABLE, "reclaimable": RECLAIMABLE, "mixed": MIXED,
    "reserved": RESERVED, "in use": IN_USE, "absent": "#ffffff",
}  # fmt: skip
TYPE_COLOURS = {
    "unmovable": UNMOVABLE, "movable": MOVABLE, "reclaimable": RECLAIMABLE, "highatomic": "#e0b400", "cma": "#7a7f00",
    "isolate": "#000000",
}  # fmt: skip
LINES = ("#1a1d21", "#0072b2", "#d55e00", "#008a63", "#a8518a", "#a07900")
DASHES = ("-", "--", "-.", ":")
"""Policies differ in colour and in dash, so that a grey print tells them apart."""

INK, SOFT, RULE = "#1a1d21", "#565d66", "#dfe3e8"
RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": "#9aa1a9",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.3,
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "figure.facecolor": "white",
    "svg.hashsalt": "kevacuate",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": "kevacuate"},
    "pdf": {"CreationDate": None, "Creator": "kevacuate", "Producer": "kevacuate"},
}
FORMATS = tuple(_METADATA)


def pyplot() -> Any:
    """matplotlib.pyplot.

    Raises
    ------
    KevacuateError
        matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise KevacuateError("Figures need matplotlib: pip install 'kevacuate[plot]'.") from None
    return plt


def style() -> Any:
    """A context in which figures look like ours."""
    return pyplot().rc_context(RC)


def axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """*ax*, or new axes in a figure of this size in inches."""
    if ax is not None:
        return ax
    made: Axes = pyplot().subplots(figsize=size, layout="constrained")[1]
    return made


def line_of(i: int) -> dict[str, Any]:
    """Colour and dash of the *i*-th policy."""
    return {"color": LINES[i % len(LINES)], "linestyle": DASHES[i % len(DASHES)]}


def runs_of(what: Run | Comparison | Sequence[Run]) -> list[Run]:
    """The runs of whatever a figure is given."""
    if isinstance(what, Run):
        return [what]
    if not isinstance(what, Comparison | list | tuple):
        return [instance(what, Run, "replay")]
    return [instance(run, Run, "replay") for run in (what.runs if isinstance(what, Comparison) else what)]


def typical_of(what: Run | Comparison | Sequence[Run]) -> list[Run]:
    """The runs to draw one by one: of a comparison the typical one of each policy (:attr:`Comparison.typical`)."""
    return runs_of(what.typical if isinstance(what, Comparison) else what)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure, the same bytes every time; the format is the suffix's. Written beside its place and renamed.

    Raises
    ------
    KevacuateError
        The format is not PNG, SVG or PDF, or the file cannot be written.
    """
    target = Path(path)
    form = target.suffix.lower().removeprefix(".")
    if form not in _METADATA:
        raise KevacuateError(f"{target} has no format that figures come in: name it .png, .svg or .pdf.")
    with written(target, replace=True) as file, style():
        figure.savefig(file.path, format=form, metadata=_METADATA[form])
    return target
