# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures by matplotlib, for papers, mails and notebooks: ``kevacuate.plot``.

A function whose name is singular draws on one Axes (``ax=``, or a new figure's) and returns it; a plural makes a whole Figure.
Each call leaves matplotlib's own settings as they were. Needs the extra ``plot``.
"""

from __future__ import annotations

from kevacuate.report.plot_bars import bar, bars
from kevacuate.report.plot_flow import flow, flow_matrix, flows
from kevacuate.report.plot_map import pageblock_map, pageblock_maps
from kevacuate.report.plot_style import FORMATS, save
from kevacuate.report.plot_time import SERIES, timeline, timelines

__all__ = [
    "FORMATS",
    "SERIES",
    "bar",
    "bars",
    "flow",
    "flow_matrix",
    "flows",
    "pageblock_map",
    "pageblock_maps",
    "save",
    "timeline",
    "timelines",
]
