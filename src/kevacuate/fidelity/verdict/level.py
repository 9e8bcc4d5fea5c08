# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict level: one recorded demand under each policy, against repeats of kernels that were booted with and without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kevacuate.fidelity.level import Given
from kevacuate.fidelity.verdict import columns
from kevacuate.fidelity.verdict.judge import (
    Values,
    effect_rows,
    level_rows,
    not_modelled,
    one_boot,
    perfect,
    sides,
    tallies,
)
from kevacuate.fidelity.verdict.outcomes import (
    TABLES,
    KernelRun,
    Workload,
    read_repeats,
    recorded_image,
    workload_of,
)
from kevacuate.fidelity.verdict.recorded_run import recorded_counts, recorded_moment
from kevacuate.fidelity.verdict.replays import REPLAYS, Replayed, Report, moments_of, replayed
from kevacuate.measure.fidelity import Effect, Judged, LevelResult, LevelRow
from kevacuate.policy import BASELINE, BOOTED
from kevacuate.recording import Recording
from kevacuate.runs.options import ReplayOptions

LEVEL_NAME = "verdict"


def verify_verdict(
    given: Given,
    tables: Sequence[Path],
    report: Report,
    replays: int = REPLAYS,
    options: ReplayOptions = ReplayOptions(),  # noqa: B008 (frozen)
) -> LevelResult:
    """Replay a stock recording's demand under every policy of :data:`kevacuate.policy.BOOTED`, and hold it against real boots.

    Parameters
    ----------
    given : Given
        The recording.
    tables : sequence of path
        Tables of repeats; empty for those beside the recording.
    report : callable
        Called with (what, done, in all; 0 if not known).
    replays : int
        Replays of each policy, with seeds from ``options.seed``.
    options : ReplayOptions
        Passed on to every replay.

    Raises
    ------
    KevacuateError
        A table named or the recording cannot be read, or the recording cannot be replayed.
    """
    recording = given.recording
    chosen = tables or _beside(recording)
    if not chosen:
        return _not_exercised(
            f"no table of repeats of real kernels: there is no {TABLES[0]} beside the recording (--repeats-table)"
        )
    workload = workload_of(recording.machine)
    if workload is None:
        return _not_exercised(
            "the recording does not say which workload and seed it ran (gtwl, gtmem, gtseed)"
        )
    boots = _boots(read_repeats(chosen), workload, recorded_image(recording.machine))
    if not any(boots.values()):
        return _not_exercised(f"{chosen[0].name} has no boot of {workload}")
    start = recording.start or given.start
    before, own = recorded_counts(recording, start)
    if own.get("patch_events"):
        return _not_exercised(
            "the recorded kernel has the patch. What its evacuations did has shaped the recorded demand, which is not that of a "
            "stock kernel"
        )
    found = replayed(recording, replays, options, report)
    for values in (one for some in found.values.values() for one in some):
        for column in columns.COUNTS:
            values[column.name] += before.get(column.name, 0)
    return _result(recording, workload, boots, found, _recorded(recording, own))


def _beside(recording: Recording) -> list[Path]:
    """The tables of repeats beside the recording."""
    here = recording.path.resolve().parent
    return [here / name for name in TABLES if (here / name).exists()]


def _not_exercised(why: str) -> LevelResult:
    return LevelResult(LEVEL_NAME, not_exercised=why)


def _boots(runs: Sequence[KernelRun], workload: Workload, image: str) -> dict[str, list[Values]]:
    """Figures of the boots of each policy's kernel, of one workload and image."""
    return {
        policy: [
            run.values
            for run in runs
            if run.kernel == kernel and run.workload == workload and run.image == image
        ]
        for policy, kernel in BOOTED.items()
    }


def _recorded(recording: Recording, counts: Mapping[str, int]) -> dict[str, float]:
    """What the recorded run itself came to, by column."""
    found: dict[str, float] = {column.name: counts.get(column.name, 0) for column in columns.COUNTS}
    machine = recording.machine
    for state in recording.states:
        if state.label in columns.MOMENTS:
            here = recorded_moment(state, machine.pageblock_order, machine.hugepage_order)
            found |= {f"{state.label}_{name}": value for name, value in here.items()}
    return found


def _result(
    recording: Recording,
    workload: Workload,
    boots: Mapping[str, Sequence[Values]],
    done: Replayed,
    recorded: Values,
) -> LevelResult:
    """All rows, judged and tallied."""
    replays = done.values
    found = {policy: list(sides(policy, boots[policy], replays[policy])) for policy in BOOTED}
    rows: list[LevelRow] = []
    effects: list[Effect] = []
    for policy in BOOTED:
        rows += level_rows(policy, found[policy], recorded)
        if policy != BASELINE:
            effects += effect_rows(policy, found[BASELINE], found[policy])
    number = len(replays[BASELINE])
    result = LevelResult(LEVEL_NAME, kinds=tallies(rows, effects))
    counts = {kernel: len(boots[policy]) for policy, kernel in BOOTED.items()}
    result.inputs = {f"boots, {kernel}": n for kernel, n in counts.items()}
    result.judged = Judged(
        str(workload),
        done.loop,
        counts,
        number,
        tuple(rows),
        tuple(effects),
        not_modelled(boots[BASELINE], replays[BASELINE]),
        perfect(found),
        one_boot(found),
    )
    result.notes = _notes(moments_of(recording))
    if not result.kinds:
        result.not_exercised = f"no row decides: there are fewer than two boots of {workload} for each kernel"
    return result


def _notes(moments: Mapping[str, int]) -> tuple[str, ...]:
    """What a reader must know about the rows."""
    notes = [
        "replays of one recorded demand stand beside boots that made their demand anew",
        "fallbacks between boot and the start of the replay are counted as recorded",
        "what blocks hold is told by two reads of memory, as in the tables: what is reclaimed between them counts as pinned",
    ]
    missing = [label for label in columns.MOMENTS if label not in moments]
    if missing:
        notes.append(f"no snapshot marks {', '.join(missing)}: rows of that moment are not there")
    return tuple(notes)
