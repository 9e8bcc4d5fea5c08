# SPDX-License-Identifier: GPL-2.0-or-later
"""kevacuate: a laboratory for the Linux page allocator.

Record how a machine allocates memory, replay that demand through a faithful model of ``mm/page_alloc.c`` under one policy or
another, and see what each did to fragmentation and what it cost.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kevacuate._version import __version__
from kevacuate.errors import KevacuateError

if TYPE_CHECKING:
    from kevacuate.capture.survey import Survey
    from kevacuate.capture.survey import take_survey as snapshot
    from kevacuate.demand.build import build_demand
    from kevacuate.fidelity.verify import verify
    from kevacuate.measure import Comparison, Run
    from kevacuate.measure.fidelity import Verification
    from kevacuate.mm.machine import Machine
    from kevacuate.observe.triage import triage
    from kevacuate.policy import POLICIES, Policy, parse_policy
    from kevacuate.recording import Recording
    from kevacuate.reports import plot
    from kevacuate.reports.comparison.conclusion import conclusion
    from kevacuate.reports.comparison.summary import summary
    from kevacuate.reports.page.write import write_report
    from kevacuate.reports.story.explain import explain
    from kevacuate.reports.story.story import Story
    from kevacuate.runs.compare import compare
    from kevacuate.runs.options import ReplayOptions

__all__ = [
    "POLICIES",
    "Comparison",
    "KevacuateError",
    "Machine",
    "Policy",
    "Recording",
    "ReplayOptions",
    "Run",
    "Story",
    "Survey",
    "Verification",
    "__version__",
    "build_demand",
    "compare",
    "conclusion",
    "explain",
    "parse_policy",
    "plot",
    "snapshot",
    "summary",
    "triage",
    "verify",
    "write_report",
]

_HOMES = {
    "Comparison": "measure",
    "Run": "measure",
    "Machine": "mm.machine",
    "POLICIES": "policy",
    "Policy": "policy",
    "parse_policy": "policy",
    "Recording": "recording",
    "build_demand": "demand.build",
    "ReplayOptions": "runs.options",
    "compare": "runs.compare",
    "conclusion": "reports.comparison.conclusion",
    "summary": "reports.comparison.summary",
    "Verification": "measure.fidelity",
    "verify": "fidelity.verify",
    "Survey": "capture.survey",
    "Story": "reports.story.story",
    "explain": "reports.story.explain",
    "snapshot": "capture.survey",
    "triage": "observe.triage",
    "write_report": "reports.page.write",
}
_CALLED = {"snapshot": "take_survey"}
"""Names that have another one at home."""
_MODULES = {"plot": "reports.plot"}


def __getattr__(name: str) -> Any:
    """Import a re-exported name when it is first used: Numba takes half a second to import."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"kevacuate.{_HOMES[name]}"), _CALLED.get(name, name))
    if name in _MODULES:
        return importlib.import_module(f"kevacuate.{_MODULES[name]}")
    raise AttributeError(f"module 'kevacuate' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, most of which are imported when they are first used."""
    return sorted(__all__)
