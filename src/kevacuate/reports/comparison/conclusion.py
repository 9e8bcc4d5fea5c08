# SPDX-License-Identifier: GPL-2.0-or-later
"""A comparison in plain words, computed from its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kevacuate.measure import Comparison, Run
from kevacuate.measure.claims import nothing_words
from kevacuate.measure.deciding import DECIDING, decided
from kevacuate.measure.permutation import DIFFERS, RUNS, mean, rule, spread
from kevacuate.measure.rows import OWN, Row
from kevacuate.measure.sequential import DIFFERS as CALLED
from kevacuate.measure.sequential import Sequential
from kevacuate.measure.table import AT_THE_END, COMPACTION, EXTFRAG, OVER_THE_RUN
from kevacuate.measure.trustrecord import record
from kevacuate.mm.layout import RegionConfig
from kevacuate.policy.settings import without_swap
from kevacuate.reports.comparison.decided import TESTED_FROM, decided_parts
from kevacuate.reports.comparison.group_rows import (
    Conclusion,
    GroupRow,
    Part,
    by_id,
    found_in,
    mean_text,
    moved,
    p_text,
    told_apart,
    verdict_text,
)
from kevacuate.reports.comparison.rows import (
    comparison_rows,
    replays_words,
)
from kevacuate.reports.comparison.start_guesses import guessed_parts
from kevacuate.reports.comparison.worth import (
    OUTCOMES_SHOWN,
    OUTCOMES_THAT_DIFFER,
    ROWS_THAT_DECIDE,
    ROWS_THAT_DIFFER,
    loop_of,
    worth_words,
)
from kevacuate.runs.trust import begun_words

OUTCOMES = (EXTFRAG, COMPACTION, OVER_THE_RUN, AT_THE_END)
"""Sections of the rows that are outcomes: what evacuation itself did, which mainline cannot do, is none."""

MOST_NAMED = 5
"""Outcomes that differ which a sentence names."""


def _figure(runs: Sequence[Run], *names: str, factor: float = 1, digits: int | None = None) -> str:
    """A metric of one run, or mean and spread of several; *digits* after the point, where it is not a count."""
    values = []
    for run in runs:
        value: Any = run.metrics
        for name in names:
            value = value[name]
        values.append(value * factor)
    if len(values) > 1:
        return mean_text(mean(values), spread(values))
    return f"{values[0]:,}" if digits is None else f"{values[0]:.{digits}f}"


def _became(name: str, row: GroupRow[Row], group: int) -> str:
    """What became of a figure: before, after, and with several runs what they say of that."""
    decision = row.decisions[group - 1]
    said = f" ({decision.verdict}, {p_text(decision)})" if decision.p is not None else ""
    return f"{name}: {mean_text(*row.summary(0))} -> {mean_text(*row.summary(group))}{said}"


def _effect(runs: Sequence[Run], rows: Mapping[str, GroupRow[Row]], group: int) -> Part:
    """What an evacuating policy did and what became of the mixed blocks."""
    honoured = "did nothing" if runs[0].provenance["evacuation"]["skip_hint"] else "went on"
    marked = "Skip bits were not recorded, so none was set at the start. "
    if all(run.metrics.get("start_blocks_with_skip_bit") is not None for run in runs):
        marked = (
            f"At the start compaction had marked {_figure(runs, 'start_blocks_with_skip_bit')} of "
            f"{_figure(runs[:1], 'start_blocks')} blocks. "
        )
    did = (
        f"{runs[0].policy} queued {_figure(runs, 'evacuations_queued')} evacuations; "
        f"{_figure(runs, 'evacuations_started_with_skip_bit')} of them found the skip bit set and {honoured}. {marked}"
        f"{_figure(runs, 'pages_migrated')} pages were migrated and {_figure(runs, 'pages_dropped')} cache pages dropped, in "
        f"{_figure(runs, 'worker_cpu_seconds', factor=1e3, digits=1)} ms of worker time. "
    )
    told = {
        "end.mixed_blocks": "Mixed pageblocks at the end",
        "end.regions_2m_movable_only": "2 MiB regions free or movable at the end",
    }
    became = ". ".join(_became(name, rows[row_id], group) for row_id, name in told.items())
    return Part("effect", f"{did}{became}.", tuple(told))


def _single(base: Run, runs: Sequence[Run]) -> Part:
    """What single runs that moved pages came to: a draw each."""
    isolating = [run for run in runs if run.metrics["pages_isolated"]]
    if not isolating:
        return Part("single", "No run isolated a page: with these skip bits evacuation changes nothing.")
    deltas = [run.metrics["end"]["mixed_blocks"] - base.metrics["end"]["mixed_blocks"] for run in isolating]
    low, high = min(deltas), max(deltas)
    span = f"{low:+d}" if low == high else f"{low:+d} to {high:+d}"
    text = f"Where evacuation moved pages, mixed pageblocks at the end changed by {span}."
    return Part("single", text, ("end.mixed_blocks",))


def _outcomes(names: Sequence[str], i: int, rows: Sequence[GroupRow[Row]]) -> Iterator[Part]:
    """How many outcomes of a policy differ, and which."""
    tested = [row for row in rows if row.row.section in OUTCOMES]
    yield from found_in(names, i, tested, "outcomes")
    sure = [row for row in tested if told_apart(row.decisions[i - 1])]
    sure.sort(key=lambda row: (row.decisions[i - 1].verdict != DIFFERS, row.decisions[i - 1].p or 0.0))
    if not sure:
        return
    told = [
        f"{row.row.label}{_when(row.row)} {mean_text(*row.summary(0))} -> {mean_text(*row.summary(i))} "
        f"({moved(row, i)}; {verdict_text(row.decisions[i - 1])})"
        for row in sure[:MOST_NAMED]
    ]
    more = f"; and {len(sure) - MOST_NAMED} more" if len(sure) > MOST_NAMED else ""
    differ = "Differ" if len(sure) > 1 else "Differs"
    how = differ if sure[0].decisions[i - 1].verdict == DIFFERS else "Apart"
    text = f"{how} under {names[i]}: {'; '.join(told)}{more}."
    yield Part("differs", text, tuple(row.row.id for row in sure))


def _seeds(comparison: Comparison, rows: Sequence[GroupRow[Row]]) -> Iterator[Part]:
    """Policies of which no replay parted from the others: their spread of 0 is not a measure of chance."""
    groups = comparison.groups
    equal = [
        i
        for i, runs in enumerate(groups.values())
        if len(runs) > 1 and all(len(set(row.values[i])) == 1 for row in rows)
    ]
    if not equal:
        return
    whose = "each policy" if len(equal) == len(groups) else ", ".join(list(groups)[i] for i in equal)
    text = (
        f"The replays of {whose} are equal in every figure: the seed decided nothing. A spread of 0 there says nothing of "
        "chance, nor does p."
    )
    yield Part("seed", text)


def idle(comparison: Comparison) -> Iterator[Part]:
    """Knobs that were given and do nothing: those of swap, where there is none, and of regions, where none are kept."""
    for name, runs in comparison.groups.items():
        given = runs[0].provenance.get("vm_settings", {}).get("given", {})
        if named := without_swap(given):
            do = "does" if len(named) == 1 else "do"
            text = (
                f"Under {name} {' and '.join(named)} {do} nothing, as there is no swap: zram=SIZE makes one."
            )
            yield Part("idle", text)
        regions = runs[0].provenance.get("evacuation", {}).get("regions", {})
        cuts = tuple(regions.get("region_fullness", RegionConfig.region_fullness))
        if cuts != RegionConfig.region_fullness and not regions.get("region_order"):
            yield Part("idle", f"Under {name} region-fullness does nothing: regions=auto keeps regions.")


def _verdict(comparison: Comparison, rows: Sequence[GroupRow[Row]]) -> Iterator[Part]:
    """The verdict in one sentence, and what it is worth: of the kernel only where every row it rests on has earned trust."""
    names, loop = list(comparison.groups), loop_of(comparison)
    tested = [row for row in rows if row.row.section in OUTCOMES]
    corrected = decided(comparison)
    if corrected is not None and corrected.replays >= TESTED_FROM:
        yield from _corrected_verdict(names, corrected, loop)
        return
    if not comparison.repeated:
        text = "Undecided: a single replay of each policy shows the mechanism at work, and tells no difference from chance."
        yield Part("verdict", text)
        yield Part("worth", worth_words((), loop))
        return
    sure = [row for row in tested if any(map(told_apart, row.decisions))]
    deciding = tuple(row.row.id for row in sure or tested)
    known = record()
    whose = "kernel" if all(known.earned(row_id, loop) for row_id in deciding) else "model"
    told = "; ".join(_tally(names, i, tested) for i in range(1, len(names)))
    what = OUTCOMES_THAT_DIFFER if sure else OUTCOMES_SHOWN
    yield Part("verdict", f"In the {whose}, against {names[0]}: {told}.", deciding)
    yield Part("worth", worth_words(deciding, loop, what), deciding)


def _corrected_verdict(names: Sequence[str], told: Sequential, loop: str) -> Iterator[Part]:
    """The verdict of so many replays that the rows that decide are tested, all of them together."""
    differ = [row for row in told.rows if row.state == CALLED]
    deciding = tuple(dict.fromkeys(row.key[0] for row in differ or told.rows))
    known = record()
    whose = "kernel" if all(known.earned(row_id, loop) for row_id in deciding) else "model"
    said = []
    for i in range(1, len(names)):
        own = [row for row in told.rows if row.key[1] == i]
        ways = [DECIDING[row.key[0]].direction.judged(row.difference) for row in differ if row.key[1] == i]
        counted = ", ".join(f"{ways.count(way)} {way}" for way in ("better", "worse") if way in ways)
        many = (
            f"{len(ways)} of {len(own)} rows that decide ({counted})"
            if ways
            else f"none of {len(own)} rows that decide"
        )
        said.append(f"{names[i]} changes {many}")
    what = ROWS_THAT_DIFFER if differ else ROWS_THAT_DECIDE
    yield Part("verdict", f"In the {whose}, against {names[0]}: {'; '.join(said)}.", deciding)
    yield Part("worth", worth_words(deciding, loop, what), deciding)


def _tally(names: Sequence[str], group: int, tested: Sequence[GroupRow[Row]]) -> str:
    """How many outcomes a policy changes, and which way."""
    sure = [row for row in tested if told_apart(row.decisions[group - 1])]
    ways = [row.row.direction.judged(row.decisions[group - 1].difference) for row in sure]
    if not sure:
        return f"{names[group]} changes none of {len(tested)} outcomes"
    said = [f"{ways.count(way)} {way}" for way in ("better", "worse") if way in ways]
    return f"{names[group]} changes {len(sure)} of {len(tested)} outcomes" + (
        f" ({', '.join(said)})" if said else ""
    )


def _nothing(comparison: Comparison, groups: Sequence[Sequence[Run]]) -> Part:
    """That no policy evacuated as the patch does; of policies of hooks whose workers did something, where that is told."""
    said = ["No policy queued an evacuation."]
    own = [
        runs[0].policy
        for runs in groups
        if any(run.provenance.get("policy_rows") and run.metrics["worker_cpu_seconds"] for run in runs)
    ]
    if own:
        said.append(f"The worker of {' and '.join(own)} acted by itself: the rows of {OWN} tell what it did.")
    if why := nothing_words(comparison.recording):
        said.append(why)
    elif not own:
        said.append("This comparison says nothing about evacuation.")
    return Part("nothing", " ".join(said))


def _when(row: Row) -> str:
    """When a row's figure is measured, where its name leaves that open."""
    return {AT_THE_END: " at the end", OVER_THE_RUN: " over the run"}.get(row.section, "")


def conclusion(comparison: Comparison) -> Conclusion:
    """What the policies did, on what that rests, and how much so many replays of one demand can decide.

    The first two are ``verdict`` (in one sentence) and ``worth`` (how often booted kernels said the same), where there is more
    than one policy. The others are of these kinds: ``decided``, ``undecided`` and ``error``
    (:mod:`kevacuate.reports.comparison.decided`), ``nothing`` (no policy evacuated), ``effect`` (what an evacuating policy
    did), ``found`` (how many outcomes differ), ``differs`` (which), ``single`` (what single runs came to), ``seed`` (no replay
    parted from the others), ``idle`` (settings that do nothing), ``guessed`` (what of the start was, and the rows that rest on
    it), ``rule`` (when a row differs) and ``basis`` (on what all this rests).
    """
    rows, groups = comparison_rows(comparison), list(comparison.groups.values())
    evacuating = {
        i: runs
        for i, runs in enumerate(groups)
        if i and any(run.metrics["evacuations_queued"] for run in runs)
    }
    parts: list[Part] = [*_verdict(comparison, rows)] if len(groups) > 1 else []
    parts += decided_parts(comparison, rows)
    if not evacuating:
        parts.append(_nothing(comparison, groups))
    for i in range(1, len(groups)):
        parts += [_effect(groups[i], by_id(rows), i)] if i in evacuating else []
        parts += _outcomes(list(comparison.groups), i, rows) if comparison.repeated else []
    if evacuating and not comparison.repeated:
        parts.append(_single(groups[0][0], [runs[0] for runs in evacuating.values()]))
    parts += _seeds(comparison, rows)
    parts += idle(comparison)
    parts += guessed_parts(comparison)
    if comparison.repeated or evacuating:
        parts.append(Part("rule", rule([len(runs) for runs in groups], RUNS)))
        closed = loop_of(comparison) == "closed"
        text = (
            f"One demand, {replays_words(comparison)}. A seed draws what no recording shows, such as when background work "
            "begins. How much evacuation moves rests on the skip bits that compaction has set. "
            f"Reclaim is {'the model' if closed else 'the recorded kernel'}'s own."
        )
        begun = groups[0][0].provenance.get("start")
        parts.append(Part("basis", f"{begun_words(begun)} {text}" if begun else text))
    return Conclusion(parts)


def first_parts(parts: Conclusion) -> dict[str, str]:
    """The texts of the verdict and of what it is worth, by kind."""
    return {part.kind: part.text for part in parts if part.kind in FIRST}


FIRST = ("verdict", "worth")
"""Kinds of the parts that stand before everything else."""


def comparison_json(comparison: Comparison, *, series: bool = False) -> dict[str, Any]:
    """Everything, as plain JSON values: the verdict and what it is worth, runs, groups of them, rows with mean and decision.

    A row that is ``trusted`` has earned trust against booted kernels.
    """
    sizes = [len(runs) for runs in comparison.groups.values()]
    told, parts = decided(comparison), conclusion(comparison)
    known, loop = record(), loop_of(comparison)
    return {
        **first_parts(parts),
        **comparison.to_json(series=series),
        "groups": [
            {"name": policy, "seeds": [run.seed for run in runs]}
            for policy, runs in comparison.groups.items()
        ],
        "rows": [
            {**row.to_json(), "trusted": known.earned(row.row.id, loop)}
            for row in comparison_rows(comparison)
        ],
        "rule": rule(sizes, RUNS),
        "decision": told.as_dict() if told is not None else None,
        "conclusion": [part.as_dict() for part in parts],
    }
