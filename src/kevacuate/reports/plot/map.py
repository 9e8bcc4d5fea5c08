# SPDX-License-Identifier: GPL-2.0-or-later
"""The pageblock map as a figure: every pageblock a square, coloured by its type or by what it holds."""

from __future__ import annotations

from math import ceil, log2, sqrt
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError, instance
from kevacuate.measure import Comparison, Run
from kevacuate.measure.frames import CONTENT_ABSENT, CONTENT_NAMES, Frames
from kevacuate.mm.constants import MIGRATE_NAMES
from kevacuate.reports.plot.style import CONTENT_COLOURS, SOFT, TYPE_COLOURS, axes, pyplot, style, typical_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Show = Literal["content", "type"]


def frames_of(run: Run) -> Frames:
    """The map over time that a run kept.

    Raises
    ------
    KevacuateError
        It kept none.
    """
    frames = instance(run, Run, "replay").frames
    if frames is None:
        raise KevacuateError(
            f"The run of {run.policy} kept no pageblock map: replay with options=ReplayOptions(keep=True)."
        )
    return frames


def columns_for(blocks: int) -> int:
    """Blocks in a row: a power of two, so that rows begin at round addresses, about two squares wide for one high."""
    return 1 << max(round(log2(sqrt(2 * max(blocks, 1)))), 0)


def grid(frames: Frames, values: npt.NDArray[Any], columns: int) -> npt.NDArray[np.float64]:
    """Rows of *columns* values by address, from the first block's row on; NaN where there is no memory.

    Rows without a block are left out, as the hole below 4 GiB.
    """
    number = frames.start >> frames.pageblock_order
    _, rows = np.unique(number // columns, return_inverse=True)
    out = np.full((int(rows.max()) + 1, columns), np.nan)
    out[rows, number % columns] = values
    return out


def _address(pfn: int) -> str:
    """A physical address of 4 KiB pages in the unit it is read in."""
    mib = pfn / 256
    return f"{mib / 1024:g} GiB" if mib >= 1024 and mib % 256 == 0 else f"{mib:g} MiB"


def pageblock_map(run: Run, *, moment: int = -1, show: Show = "content", ax: Axes | None = None) -> Axes:
    """Every pageblock of the machine at one moment of a run.

    Parameters
    ----------
    run : Run
        With its map kept (``ReplayOptions(keep=True)``).
    moment : int
        Which sample, 0 the first, -1 the last.
    show : "content" or "type"
        Colour by what the blocks hold, or by migratetype.
    ax : Axes, optional
        Draw there instead of in a new figure.

    Raises
    ------
    KevacuateError
        The run kept no map, there is no such moment, or matplotlib is not installed.
    """
    frames = frames_of(run)
    if not -len(frames.t) <= moment < len(frames.t):
        raise KevacuateError(f"The run has {len(frames.t)} moments, so none with number {moment}.")
    block = frames.at(moment)
    values, names = (block.content, CONTENT_NAMES) if show == "content" else (block.mt, MIGRATE_NAMES)
    colours = CONTENT_COLOURS if show == "content" else TYPE_COLOURS
    columns = columns_for(len(frames.start))
    there = block.content != CONTENT_ABSENT
    picture = grid(frames, np.where(there, values, np.nan), columns)
    with style():
        from matplotlib.colors import ListedColormap

        where = axes(ax, (6.4, 1.2 + 6.4 * picture.shape[0] / columns))
        colour_map = ListedColormap([colours[name] for name in names])
        where.pcolormesh(
            picture, cmap=colour_map, vmin=-0.5, vmax=len(names) - 0.5, edgecolors="white",
            linewidth=0.5 if columns <= 64 else 0, antialiased=True, rasterized=picture.size > 20_000,
        )  # fmt: skip
        _frame(where, frames, picture, columns)
        values = values[there]
        seen = sorted(set(np.unique(values).tolist()))
        _legend(where, [(names[i], colours[names[i]], int((values == i).sum())) for i in seen])
        t = frames.t[moment] / 1e9
        what = "what the pageblocks hold" if show == "content" else "types of the pageblocks"
        where.set_title(f"{run.policy}\n{what} at {t:.1f} s")
    return where


def _frame(where: Axes, frames: Frames, picture: npt.NDArray[np.float64], columns: int) -> None:
    """Addresses at the left, no other axes."""
    number = frames.start >> frames.pageblock_order
    rows = np.unique(number // columns)
    step = max(ceil(len(rows) / 8), 1)
    at = np.arange(0, len(rows), step)
    where.set_yticks(at + 0.5, [_address(int(rows[i]) * columns << frames.pageblock_order) for i in at])
    where.set_xticks([])
    where.invert_yaxis()
    where.set_aspect("equal" if picture.shape[0] <= 4 * columns else "auto")
    where.tick_params(length=0)
    for side in where.spines.values():
        side.set_visible(False)


def _legend(where: Axes, entries: list[tuple[str, str, int]]) -> None:
    """Names, colours and numbers of blocks, under the map."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=colour, edgecolor=SOFT, linewidth=0.4) for _, colour, _ in entries]
    labels = [f"{name} {count:,}" for name, _, count in entries]
    where.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(-0.02, -0.01), ncols=min(len(entries), 3), handlelength=0.9,
        handleheight=0.9, columnspacing=1.0, handletextpad=0.5, labelspacing=0.3, borderaxespad=0.2, fontsize=8,
    )  # fmt: skip


def pageblock_maps(what: Run | Comparison, *, moment: int = -1) -> Figure:
    """The maps of all runs side by side: above what the blocks hold, below their types.

    Raises
    ------
    KevacuateError
        As :func:`pageblock_map`.
    """
    runs = typical_of(what)
    frames = frames_of(runs[0])
    columns = columns_for(len(frames.start))
    rows = grid(frames, np.zeros(len(frames.start), np.uint8), columns).shape[0]
    width = 4.4
    height = 1.0 + (width - 0.7) * min(rows / columns, 4)
    with style():
        figure, panels = pyplot().subplots(
            2, len(runs), figsize=(width * len(runs), 2 * height), squeeze=False, layout="constrained"
        )
        for column, run in enumerate(runs):
            pageblock_map(run, moment=moment, show="content", ax=panels[0][column])
            pageblock_map(run, moment=moment, show="type", ax=panels[1][column])
    made: Figure = figure
    return made
