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
    from kevacuate.measure import Comparison, Run
    from kevacuate.measure.fidelity import Verification
    from kevacuate.mm.machine import Machine
    from kevacuate.policy import POLICIES, Policy, parse_policy
    from kevacuate.recording import Recording
    from kevacuate.replay.compare import compare
    from kevacuate.replay.demand import build_demand
    from kevacuate.replay.initial import ReplayOptions
    from kevacuate.replay.triage import triage
    from kevacuate.replay.verify.run import verify
    from kevacuate.report import plot
    from kevacuate.report.explain import explain
    from kevacuate.report.story import Story
    from kevacuate.report.summary import summary
    from kevacuate.report.words import conclusion
    from kevacuate.report.write import write_report

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
    "build_demand": "replay.demand",
    "ReplayOptions": "replay.initial",
    "compare": "replay.compare",
    "conclusion": "report.words",
    "summary": "report.summary",
    "Verification": "measure.fidelity",
    "verify": "replay.verify.run",
    "Survey": "capture.survey",
    "Story": "report.story",
    "explain": "report.explain",
    "snapshot": "capture.survey",
    "triage": "replay.triage",
    "write_report": "report.write",
}
_CALLED = {"snapshot": "take_survey"}
"""Names that have another one at home."""
_MODULES = {"plot": "report.plot"}


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
