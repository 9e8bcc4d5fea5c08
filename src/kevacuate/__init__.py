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
    from kevacuate.capture.doctor import examine as doctor
    from kevacuate.capture.holders import holders
    from kevacuate.capture.record import record, triage_live
    from kevacuate.capture.snapshot import snapshot
    from kevacuate.capture.status import Result as RecordResult
    from kevacuate.capture.survey import Survey
    from kevacuate.capture.vmcore_state import CoreSnapshot
    from kevacuate.demand.build import build_demand
    from kevacuate.fidelity.verify import verify
    from kevacuate.measure.ablated import Ablation
    from kevacuate.measure.fidelity import Verification
    from kevacuate.measure.holders import Holders
    from kevacuate.measure.results import Comparison, Run
    from kevacuate.measure.saved import load, save
    from kevacuate.measure.startfile import StartState
    from kevacuate.measure.tuned import Tuned
    from kevacuate.mm.machine import Machine
    from kevacuate.observe.files.door import triage
    from kevacuate.observe.info import info
    from kevacuate.observe.outcomes import compare_recorded
    from kevacuate.policy import POLICIES, Policy, parse_policy
    from kevacuate.recording import Recording
    from kevacuate.recording.importers import ImportOptions, import_recording
    from kevacuate.reports import plot
    from kevacuate.reports.comparison.conclusion import conclusion
    from kevacuate.reports.comparison.summary import summary
    from kevacuate.reports.export import export
    from kevacuate.reports.page.write import report
    from kevacuate.reports.story.explain import explain
    from kevacuate.reports.story.story import Story
    from kevacuate.runs.ablate import ablate
    from kevacuate.runs.compare import compare
    from kevacuate.runs.fit import fit
    from kevacuate.runs.options import ReplayOptions
    from kevacuate.runs.replay import replay
    from kevacuate.runs.scale import Scaled, scale
    from kevacuate.runs.start import start_state
    from kevacuate.runs.start_forms import save_start
    from kevacuate.runs.tune import tune
    from kevacuate.sweeps.fleet import Fleet, fleet
    from kevacuate.sweeps.shown import Shown, show_sweep
    from kevacuate.sweeps.sweep import Swept, collect, sweep
    from kevacuate.workload.describe import Workload
    from kevacuate.workload.opening import open_recording as open
    from kevacuate.workload.stream import generate_recording as generate
    from kevacuate.workload.toml import read_workload

__all__ = [
    "POLICIES",
    "Ablation",
    "Comparison",
    "CoreSnapshot",
    "Fleet",
    "Holders",
    "ImportOptions",
    "KevacuateError",
    "Machine",
    "Policy",
    "RecordResult",
    "Recording",
    "ReplayOptions",
    "Run",
    "Scaled",
    "Shown",
    "StartState",
    "Story",
    "Survey",
    "Swept",
    "Tuned",
    "Verification",
    "Workload",
    "__version__",
    "ablate",
    "build_demand",
    "collect",
    "compare",
    "compare_recorded",
    "conclusion",
    "doctor",
    "explain",
    "export",
    "fit",
    "fleet",
    "generate",
    "holders",
    "import_recording",
    "info",
    "load",
    "open",
    "parse_policy",
    "plot",
    "read_workload",
    "record",
    "replay",
    "report",
    "save",
    "save_start",
    "scale",
    "show_sweep",
    "snapshot",
    "start_state",
    "summary",
    "sweep",
    "triage",
    "triage_live",
    "tune",
    "verify",
]

_HOMES = {
    "Ablation": "measure.ablated",
    "Comparison": "measure.results",
    "CoreSnapshot": "capture.vmcore_state",
    "Fleet": "sweeps.fleet",
    "Holders": "measure.holders",
    "ImportOptions": "recording.importers",
    "Machine": "mm.machine",
    "POLICIES": "policy",
    "Policy": "policy",
    "RecordResult": "capture.status",
    "Recording": "recording",
    "ReplayOptions": "runs.options",
    "Run": "measure.results",
    "Scaled": "runs.scale",
    "Shown": "sweeps.shown",
    "StartState": "measure.startfile",
    "Story": "reports.story.story",
    "Survey": "capture.survey",
    "Swept": "sweeps.sweep",
    "Tuned": "measure.tuned",
    "Verification": "measure.fidelity",
    "ablate": "runs.ablate",
    "build_demand": "demand.build",
    "collect": "sweeps.sweep",
    "compare": "runs.compare",
    "compare_recorded": "observe.outcomes",
    "conclusion": "reports.comparison.conclusion",
    "doctor": "capture.doctor",
    "explain": "reports.story.explain",
    "export": "reports.export",
    "fit": "runs.fit",
    "fleet": "sweeps.fleet",
    "generate": "workload.stream",
    "holders": "capture.holders",
    "import_recording": "recording.importers",
    "info": "observe.info",
    "load": "measure.saved",
    "open": "workload.opening",
    "parse_policy": "policy",
    "record": "capture.record",
    "replay": "runs.replay",
    "report": "reports.page.write",
    "save": "measure.saved",
    "scale": "runs.scale",
    "save_start": "runs.start_forms",
    "show_sweep": "sweeps.shown",
    "snapshot": "capture.snapshot",
    "start_state": "runs.start",
    "summary": "reports.comparison.summary",
    "sweep": "sweeps.sweep",
    "triage": "observe.files.door",
    "triage_live": "capture.record",
    "tune": "runs.tune",
    "verify": "fidelity.verify",
    "read_workload": "workload.toml",
    "Workload": "workload.describe",
}
_CALLED = {
    "RecordResult": "Result",
    "doctor": "examine",
    "generate": "generate_recording",
    "open": "open_recording",
}
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
