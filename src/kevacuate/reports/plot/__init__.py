# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures by matplotlib, for papers, mails and notebooks: ``kevacuate.plot``.

A function whose name is singular draws on one Axes (``ax=``, or a new figure's) and returns it; a plural makes a whole Figure.
Each call leaves matplotlib's own settings as they were. Needs the extra ``plot``.
"""

from __future__ import annotations

from kevacuate.reports.plot.bars import bar, bars
from kevacuate.reports.plot.flow import flow, flow_matrix, flows
from kevacuate.reports.plot.map import pageblock_map, pageblock_maps
from kevacuate.reports.plot.style import FORMATS, save
from kevacuate.reports.plot.time import SERIES, timeline, timelines

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
