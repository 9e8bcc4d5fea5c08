# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/held-out.md: demands that nothing was fitted to, and several recordings of one demand, from tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import correlation, mean, median, variance
from typing import NamedTuple

from fidelity_document import markdown
from held_out_replays import Replayed, read_replays, recorded_boots

from kevacuate.fidelity.verdict.columns import ONLY_PATCHED, Column
from kevacuate.fidelity.verdict.judge import (
    EFFECTS_HOLD,
    LEVELS_HOLD,
    SPREADS_HOLD,
    Sides,
    effect_rows,
    level_rows,
    perfect,
    sides,
    tallies,
)
from kevacuate.fidelity.verdict.outcomes import KernelRun, Workload, read_repeats
from kevacuate.measure.fidelity import FALSE, Effect, LevelRow, Tally
from kevacuate.measure.intervals import Difference, Sample, t_quantile, welch
from kevacuate.measure.permutation import LEVEL, permutation_p
from kevacuate.percent import percent
from kevacuate.policy import BASELINE, BOOTED
from kevacuate.reports.fidelity.verdict import figure, sample_text, signed

HELD_OUT = frozenset({("churn", 1), ("churn", 7), ("pressure", 3), ("pressure", 2), ("kbuild", 2)})
"""Workloads and seeds of which no figure was looked at while the model was made."""

LOOKED_AT = frozenset({"stock-churn-1g-smp1-s5", "stock-pressure-1g-smp1-s1"})
"""Recordings of the second disk image that the model was made with."""

SHARE = "core_share"
"""Column of a boot's share of a core: processor time of the emulator by its run time."""

FEWEST = 3
"""Recordings of one demand that tell what a recording does: with fewer there is no spread to speak of."""

Values = Mapping[str, float]


@dataclass(frozen=True)
class Case:
    """One demand: boots of each kernel, and replays of each recording of it."""

    workload: Workload
    boots: Mapping[str, Sequence[Values]]
    """Kernel to its boots' figures."""
    own: Mapping[str, Values]
    """Recording to the figures of the boot that was recorded."""
    light: Sequence[Values]
    """Figures of the stock kernel's boots that were not recorded."""
    replays: Mapping[str, Mapping[str, Sequence[Values]]]
    """Recording to policy to its replays' figures."""

    @property
    def title(self) -> str:
        """What was run."""
        return f"{self.workload.name}, seed {self.workload.seed}"

    @property
    def held_out(self) -> bool:
        """Whether nothing was fitted to it, or checked on it."""
        return (self.workload.name, self.workload.seed) in HELD_OUT

    @property
    def judged(self) -> list[str]:
        """The recordings that were replayed under every policy that was booted."""
        return [name for name, some in self.replays.items() if all(policy in some for policy in BOOTED)]

    def sides(self, policy: str, names: Sequence[str]) -> list[Sides]:
        """Every figure under a policy: the kernel's boots, and all replays of these recordings."""
        ours = [values for name in names for values in self.replays[name].get(policy, ())]
        return list(sides(policy, self.boots[BOOTED[policy]], ours))


def cases(tables: Sequence[Path], replays: Sequence[Replayed]) -> list[Case]:
    """The demands that were replayed, those held out first."""
    runs, names = read_repeats(tables), {key: name for name, key in recorded_boots(tables).items()}
    found: dict[tuple[Workload, str], dict[str, dict[str, list[Values]]]] = {}
    for one in replays:
        recordings = found.setdefault((one.workload, one.image), {})
        recordings.setdefault(one.recording, {}).setdefault(one.policy, []).append(one.values)
    made = []
    for (workload, image), recordings in found.items():
        here = [run for run in runs if run.workload == workload and run.image == image]
        own = {name: run.values for run in here if (name := names.get(_key(run), "")) in recordings}
        stock = [run for run in here if run.kernel == BOOTED[BASELINE]]
        light = [run.values for run in stock if names.get(_key(run)) not in recordings]
        boots = {kernel: [run.values for run in here if run.kernel == kernel] for kernel in BOOTED.values()}
        made.append(Case(workload, boots, own, light, dict(sorted(recordings.items()))))
    return sorted(made, key=lambda case: (not case.held_out, case.title))


def _key(run: KernelRun) -> tuple[str, ...]:
    return (run.kernel, *(str(value) for value in run.workload), run.repeat)


class Judgement(NamedTuple):
    """What the verdict level says of some recordings of a demand, taken together."""

    rows: list[LevelRow]
    effects: list[Effect]
    tallies: dict[str, Tally]
    perfect: dict[str, float]


def judge(case: Case, names: Sequence[str], policies: Sequence[str] = tuple(BOOTED)) -> Judgement:
    """Levels, spreads and effects, with the replays of all named recordings as one group."""
    found = {policy: case.sides(policy, names) for policy in policies}
    rows = [row for policy in policies for row in level_rows(policy, found[policy], {})]
    effects = [
        row
        for policy in policies
        if policy != BASELINE
        for row in effect_rows(policy, found[BASELINE], found[policy])
    ]
    return Judgement(rows, effects, tallies(rows, effects), perfect(found))


class Draw(NamedTuple):
    """One figure of `mainline` by recording of one demand, against the kernel's boots."""

    column: Column
    theirs: Sample
    own: list[float]
    """What each recorded boot came to."""
    means: list[float]
    """The model's mean, by recording."""
    noise: float
    """Variance of such a mean, from the replays."""
    bias: Difference
    """The mean of those means less the boots' mean."""
    first_holds: bool | None
    """Whether the level holds with the first recording alone."""
    paired: tuple[float, float, float] | None
    """Model less recorded boot, mean over recordings, and its 95 % interval; None where boots' own figures are too few."""

    @property
    def biased(self) -> bool:
        """Whether 0 lies outside the 95 % interval of the bias."""
        return not self.bias.low <= 0.0 <= self.bias.high

    @property
    def apart(self) -> bool:
        """Whether the model differs from the very boots that were recorded: 0 lies outside the interval of `paired`."""
        return self.paired is not None and not self.paired[1] <= 0.0 <= self.paired[2]

    @property
    def spread(self) -> float:
        """Standard deviation that the choice of the boot gives the model's mean, less the replays' own noise."""
        return sqrt(max(0.0, variance(self.means) - self.noise))

    @property
    def follows(self) -> float | None:
        """Correlation of the model's mean with what the recorded boot came to; None where either does not vary."""
        if len(self.own) != len(self.means) or len({*self.own}) < 2 or len({*self.means}) < 2:
            return None
        return correlation(self.own, self.means)


def draws(case: Case) -> list[Draw]:
    """Every figure of `mainline` that varies in boots or replays, by recording."""
    names = list(case.replays)
    found = []
    for column, theirs, _ in case.sides(BASELINE, names):
        by = [[v[column.name] for v in case.replays[name][BASELINE] if column.name in v] for name in names]
        if column.name in ONLY_PATCHED or len(theirs) < 2 or min(map(len, by)) < 2:
            continue
        if len({*theirs}) < 2 and len({value for some in by for value in some}) < 2:
            continue
        own = [case.own[name][column.name] for name in names if column.name in case.own.get(name, {})]
        means = [mean(some) for some in by]
        noise = mean(variance(some) / len(some) for some in by)
        first = next(level_rows(BASELINE, [Sides(column, theirs, by[0])], {})).level_holds
        bias = welch(Sample.of(theirs), Sample.of(means))
        found.append(Draw(column, Sample.of(theirs), own, means, noise, bias, first, paired(own, means)))
    return found


def paired(own: Sequence[float], means: Sequence[float]) -> tuple[float, float, float] | None:
    """The mean of model less recorded boot, and its 95 % interval by Student's t."""
    if len(own) != len(means) or len(own) < FEWEST:
        return None
    apart = Sample.of([ours - theirs for ours, theirs in zip(means, own, strict=True)])
    reach = t_quantile(1 - LEVEL / 2, apart.n - 1) * apart.error
    return apart.mean, apart.mean - reach, apart.mean + reach


def held_out_document(tables: Sequence[Path], table: Path, later: Path | None = None) -> str:
    """The page, as Markdown; *later* has replays of a later model.

    Raises
    ------
    KevacuateError
        A table cannot be read, or is none.
    """
    every = cases(tables, read_replays(table))
    lines = ["<!-- SPDX-License-Identifier: GPL-2.0-or-later -->", "# What the model is worth, held out", ""]
    lines += _head()
    lines += _short(every)
    lines += _made(every)
    lines += _verdicts(every)
    lines += _levels(every)
    for case in every:
        if len(case.replays) >= FEWEST:
            lines += _draws(case)
    lines += _recorded(every)
    if later is not None and later.exists():
        lines += _since(every, cases(tables, read_replays(later)))
    lines += _approximate()
    return "\n".join(lines)


def _head() -> Iterator[str]:
    yield "Made by `python docs/generate_held_out.py` from tables in `tests/data/outcomes`. No figure of it is written by hand."
    yield ""
    yield (
        "The model was made with three recorded demands in view: churn of seeds 3 and 5, and pressure of seed 1. Here it meets "
        "demands of other seeds, and more recordings of the same ones. Replays are of the model as it was before these boots."
    )
    yield ""


def _short(every: Sequence[Case]) -> Iterator[str]:
    """What the page says, a line a demand."""
    yield "## In short"
    yield ""
    for case in every:
        if case.judged and case.held_out:
            found = judge(case, case.judged)
            false = sum(row.agreement in FALSE for row in found.effects)
            yield (
                f"* **{case.title}, held out.** {_of(found, LEVELS_HOLD)} levels hold (a perfect model: "
                f"{percent(found.perfect[LEVELS_HOLD])}), {_of(found, SPREADS_HOLD)} spreads, {_of(found, EFFECTS_HOLD)} "
                f"effects. False verdicts: {false}."
            )
    for case in every:
        if len(case.replays) >= FEWEST:
            found = draws(case)
            biased = [row for row in found if row.biased]
            both = sorted(
                (row for row in biased if row.apart), key=lambda row: -abs(row.bias.value / row.bias.error)
            )
            missed = [row for row in found if row.first_holds is False]
            mended = sum(not row.biased for row in missed)
            yield (
                f"* **{case.title}, {len(case.replays)} recordings.** {len(biased)} of {len(found)} levels are biased, whichever "
                f"boot was recorded. Of {len(missed)} that do not hold with the first recording, {mended} are within what "
                f"recordings differ by."
            )
            if both:
                yield f"  {len(both)} of them differ from the recorded boots as well."
                yield f"  Clearest: {', '.join(row.column.label for row in both[:3])}."
    yield ""


def _of(found: Judgement, kind: str) -> str:
    """How many rows answer a question: ``60 of 90``."""
    tally = found.tallies.get(kind)
    return f"{tally.decisions - tally.mismatches} of {tally.decisions}" if tally else "0 of 0"


def _made(every: Sequence[Case]) -> Iterator[str]:
    """How the recordings were made."""
    boots = sum(len(some) for case in every for some in case.boots.values())
    yield "## How the boots were made"
    yield ""
    yield "* The kernel is Linux 7.2.13 from Debian's source package, built by gcc 12.2, with the hooks of the first tables."
    yield (
        "* It was configured as for these: from `tinyconfig`, without modules, NUMA, memory control groups, swap devices and "
        "LRU_GEN. It has compaction, transparent huge pages and CMA without areas."
    )
    yield "* `stock` lacks the patch, `patched` has it as posted, `fixskip` ignores the skip hint. They differ in one file."
    yield "* The disk image is that of the second population: its maker's program makes equal files from a fixed seed."
    yield "* One program makes the load. It runs as the first process in an emulated machine (TCG) of 1 GiB and one CPU."
    yield "* A recorded boot has all events on. The others have those alone that a table of repeats needs."
    yield (
        "* The host was busy: emulators had 0.3 to 0.8 of a core. Such a guest sees a slower CPU, and one that pauses, beside "
        "the same disk. Shares of the older boots were not noted."
    )
    yield "* No recording lost an event. Its events agree with the kernel's counters as in the first recordings."
    yield f"* Figures rest on {boots} boots, those of the older tables included."
    yield "* Two more stopped in the check of their timer, as a busy emulator may. One of these was made anew."
    yield ""


def _verdicts(every: Sequence[Case]) -> Iterator[str]:
    """The verdict level, demand by demand."""
    yield "## The verdict level"
    yield ""
    yield (
        "Rows and tests are those of [Fidelity](../fidelity.md). *Perfect* is what kernels drawn against themselves would pass. "
        "*All* takes the replays of all its recordings as one group."
    )
    yield ""
    heads = (
        "demand",
        "recording",
        "boots",
        "replays",
        "levels",
        "perfect",
        "spreads",
        "perfect",
        "effects",
        "perfect",
        "false verdicts",
    )
    yield from markdown(heads, [row for case in every for row in _verdict_rows(case)], left=3)
    yield ""


def _levels(every: Sequence[Case]) -> Iterator[str]:
    """Levels of `mainline`, recording by recording."""
    yield f"## Levels of `{BASELINE}`, by recording"
    yield ""
    yield (
        "Each recording's replays stand against the boots of the stock kernel. Those that were *looked at* helped to make the "
        "model. Where they do better than the others of the same demand, something was fitted to one boot. *Core* is the "
        "share of a core that the emulator had, where it was noted. With fewer replays levels hold more easily."
    )
    yield ""
    rows = []
    for case in every:
        for name in case.replays:
            found = judge(case, [name], [BASELINE])
            if LEVELS_HOLD in found.tallies:
                kind = "looked at" if name in LOOKED_AT else "new"
                number, core = str(len(case.replays[name][BASELINE])), case.own[name].get(SHARE)
                cells = (case.title, name, kind, f"{core:.2f}" if core else "", number)
                rows.append((*cells, _of(found, LEVELS_HOLD), _of(found, SPREADS_HOLD)))
    heads = ("demand", "recording", "kind", "core", "replays", "levels", "spreads")
    yield from markdown(heads, rows, left=3)
    yield ""


def _verdict_rows(case: Case) -> Iterator[tuple[str, ...]]:
    boots = ", ".join(f"{kernel} {len(some)}" for kernel, some in case.boots.items() if some)
    title = f"{case.title} ({'held out' if case.held_out else 'looked at'})"
    groups = [[name] for name in case.judged]
    if len(groups) > 1:
        groups.append(case.judged)
    for names in groups:
        found = judge(case, names)
        if LEVELS_HOLD not in found.tallies:
            continue
        number = sum(len(case.replays[name][BASELINE]) for name in names)
        cells = [title, names[0] if len(names) == 1 else "all", boots, str(number)]
        for kind in (LEVELS_HOLD, SPREADS_HOLD, EFFECTS_HOLD):
            cells += [_of(found, kind), percent(found.perfect[kind]) if kind in found.perfect else ""]
        yield (*cells, str(sum(row.agreement in FALSE for row in found.effects)) if found.effects else "")


def _draws(case: Case) -> Iterator[str]:
    """A demand's figures by recording."""
    found = draws(case)
    follows = [row.follows for row in found if row.follows is not None]
    counts = ", ".join(str(len(some[BASELINE])) for some in case.replays.values())
    yield f"## Draw or bias: {case.title}"
    yield ""
    yield f"Recordings: {', '.join(case.replays)}. Replays of each under `{BASELINE}`: {counts}."
    yield (
        "*Bias* is the mean of the model's means by recording less the mean of all boots, with Welch's interval of 95 %. "
        "*Draw* is the standard deviation that the choice of the boot gives the model's mean. *Against its own boot* is the "
        "model less the boot that was recorded, which is a sharper test where the model follows that boot."
    )
    if follows:
        yield (
            f"Over {len(follows)} rows the median correlation of the model's mean with what the recorded boot came to is "
            f"{median(follows):.2f}."
        )
    yield ""
    biased = [row for row in found if row.biased]
    yield f"{len(biased)} of {len(found)} rows are biased; chance alone gives about {LEVEL * len(found):.0f}. These come first."
    yield ""
    heads = (
        "row",
        "boots: mean (sd)",
        "recorded boots",
        "model by recording",
        "bias",
        "95 % interval",
        "draw",
        "against its own boot",
    )
    rows = [_draw_cells(row) for row in (*biased, *(row for row in found if not row.biased))]
    yield from markdown(heads, rows, left=1)
    yield ""


def _draw_cells(row: Draw) -> tuple[str, ...]:
    bias = signed(row.bias.value)
    return (
        row.column.label,
        sample_text(row.theirs),
        " ".join(figure(value) for value in row.own),
        " ".join(figure(value) for value in row.means),
        f"**{bias}**" if row.biased else bias,
        f"{signed(row.bias.low)} to {signed(row.bias.high)}",
        figure(row.spread),
        _paired_text(row),
    )


def _paired_text(row: Draw) -> str:
    """Model less its own recorded boot: bold where the interval leaves out 0."""
    if row.paired is None:
        return ""
    value, low, high = row.paired
    text = f"{signed(value)} ({signed(low)} to {signed(high)})"
    return f"**{text}**" if row.apart else text


def _recorded(every: Sequence[Case]) -> Iterator[str]:
    """Whether recorded boots are boots like others."""
    yield "## Are recorded boots like the others?"
    yield ""
    yield "All events on cost time. Recorded boots of the stock kernel stand against its others: permutation tests, uncorrected."
    yield ""
    rows = []
    for case in every:
        names = {name for values in case.light for name in values} & {n for v in case.own.values() for n in v}
        pairs = {
            name: (
                [v[name] for v in case.light if name in v],
                [v[name] for v in case.own.values() if name in v],
            )
            for column, _, _ in case.sides(BASELINE, list(case.replays))
            if (name := column.name) in names
        }
        told = {name: permutation_p(*pair) for name, pair in pairs.items() if len({*pair[0], *pair[1]}) > 1}
        if len(case.own) >= FEWEST and len(case.light) >= FEWEST:
            apart = [name for name, p in told.items() if p <= LEVEL]
            rows.append(
                (
                    case.title,
                    str(len(case.own)),
                    str(len(case.light)),
                    str(len(told)),
                    str(len(apart)),
                    ", ".join(apart),
                )
            )
    yield from markdown(("demand", "recorded", "others", "rows", "p at most 0.05", "which"), rows, left=1)
    yield ""


def _since(before: Sequence[Case], now: Sequence[Case]) -> Iterator[str]:
    """Levels of `mainline` by recording, of this model and of a later one, with as many replays of each."""
    yield "## Since then"
    yield ""
    yield (
        "The model has changed since, and so has the way in which blocks are measured. New recordings may have helped to change "
        "it, that of pressure, seed 3, among them: they are held out no more. Counts are of levels and spreads that hold, with "
        "equal numbers of replays. *Now* is a model with what the kernel reads ahead, and kcompactd's slices of the CPU."
    )
    yield ""
    found = {name: case for case in before for name in case.replays}
    rows = []
    for case in now:
        for name, some in case.replays.items():
            number = min(len(some[BASELINE]), len(found[name].replays[name][BASELINE]))
            cells = [case.title, name, str(number)]
            for kind in (LEVELS_HOLD, SPREADS_HOLD):
                cells += [_of(_few(one, name, number), kind) for one in (found[name], case)]
            rows.append(cells)
    yield from markdown(
        ("demand", "recording", "replays", "levels before", "levels now", "spreads before", "spreads now"),
        rows,
        left=2,
    )
    yield ""


def _few(case: Case, name: str, number: int) -> Judgement:
    """The first replays of a recording under `mainline`, judged."""
    few = {name: {BASELINE: case.replays[name][BASELINE][:number]}}
    return judge(replace(case, replays=few), [name], [BASELINE])


def _approximate() -> Iterator[str]:
    yield "## What is approximate"
    yield ""
    yield "* Replays take one boot's requests at their times. A boot makes its requests anew, so it has times of its own."
    yield "* Boots of one demand on hosts of other speed are pooled. The tests above would not see small differences."
    yield "* Rows hang together, so their numbers count causes badly. Intervals of bias are not corrected for their number."
    yield "* Three to six recordings tell little of a spread. A bias that is not shown may still be there."
    yield "* All of it is one machine of 1 GiB with one CPU, emulated, without swap."
    yield ""
