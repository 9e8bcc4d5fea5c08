# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/scaling.md: what a scaled recording says of a policy, beside what a recording of that size says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Any

from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.intervals import Sample, t_quantile
from kevacuate.measure.permutation import LEVEL, permutation_p
from kevacuate.measure.rows import Row
from kevacuate.measure.table import FIRST_ROWS, OUTCOME_ROWS
from kevacuate.policy import COMPARED
from kevacuate.reports.comparison.group_rows import number

MORE = ("end.blocks_unmovable", "end.huge_pages_free", "extfrag.steals_by_movable")
ROWS: dict[str, Row] = dict(DECIDING) | {
    row.id: row for row in (*FIRST_ROWS, *OUTCOME_ROWS) if row.id in MORE
}
"""The rows of the page: those that decide, and a few more."""

GROUPS = ("small", "scaled", "large")


@dataclass(frozen=True)
class Effect:
    """What a policy does to a row's mean: the logarithm of the ratio to mainline's, its error, and the test's p."""

    log_ratio: float
    error: float
    freedom: float
    p: float

    @classmethod
    def of(cls, base: Sequence[float], other: Sequence[float]) -> Effect | None:
        """Of the values of two groups; None where a mean is 0."""
        first, second = Sample.of(base), Sample.of(other)
        if first.mean <= 0 or second.mean <= 0:
            return None
        error = sqrt((first.error / first.mean) ** 2 + (second.error / second.mean) ** 2)
        p = permutation_p(base, other)
        return cls(log(second.mean / first.mean), error, first.n + second.n - 2, p)

    @property
    def reach(self) -> float:
        """Half the interval of the logarithm."""
        return t_quantile(1 - LEVEL / 2, self.freedom) * self.error

    @property
    def words(self) -> str:
        """The change in per cent and its interval."""
        low, middle, high = (100 * (exp(self.log_ratio + side * self.reach) - 1) for side in (-1, 0, 1))
        return f"{middle:+.0f} ({low:+.0f} to {high:+.0f}){'*' if self.p <= LEVEL else ''}"

    @property
    def sign(self) -> int:
        """-1, 1, or 0 where no difference is shown."""
        return 0 if self.p > LEVEL else 1 if self.log_ratio > 0 else -1

    def apart(self, other: Effect) -> float:
        """How many standard errors two effects are apart."""
        error = sqrt(self.error**2 + other.error**2)
        return abs(self.log_ratio - other.log_ratio) / error if error else 0.0


def effects(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Effect]]]:
    """(policy, row, effect by group), of the rows that all groups have."""
    values = found["values"]
    for policy in COMPARED[1:]:
        for row in ROWS:
            made = {
                group: Effect.of(values[group][COMPARED[0]][row], values[group][policy][row])
                for group in GROUPS
                if row in values[group][policy]
            }
            known = {group: effect for group, effect in made.items() if effect is not None}
            if len(known) == len(GROUPS):
                yield policy, row, known


def verdict(scaled: Effect, large: Effect) -> str:
    """What the scaled demand's verdict is worth."""
    if scaled.sign == large.sign:
        return "same" if scaled.sign else "neither"
    if not scaled.sign:
        return "missed"
    return "opposite" if large.sign else "invented"


def effect_tables(found: dict[str, Any]) -> Iterator[str]:
    """A table of each policy."""
    every = list(effects(found))
    for policy in COMPARED[1:]:
        rows = [
            [
                ROWS[row].label,
                *(made[group].words for group in GROUPS),
                verdict(made["scaled"], made["large"]),
            ]
            for one, row, made in every
            if one == policy
        ]
        yield f"`{policy}` against `mainline`: change of the mean in per cent, with its interval of {100 * (1 - LEVEL):.0f} %."
        yield ""
        yield "| row | recorded, small | scaled | recorded, large | verdict |"
        yield "|---|---:|---:|---:|---|"
        yield from (f"| {' | '.join(row)} |" for row in rows)
        yield ""


def level_table(found: dict[str, Any]) -> Iterator[str]:
    """Mainline's means, and their ratio to the large recording's."""
    values = found["values"]
    yield "| row | recorded, small, times the memory | scaled | recorded, large | scaled / large |"
    yield "|---|---:|---:|---:|---:|"
    for row_id, row in ROWS.items():
        if any(row_id not in values[group][COMPARED[0]] for group in GROUPS):
            continue
        small, scaled, large = (Sample.of(values[group][COMPARED[0]][row_id]) for group in GROUPS)
        times = found["memory"]
        ratio = f"{scaled.mean / large.mean:.2f}" if large.mean else "-"
        cells = [
            f"{number(one.mean * n)} ± {number(one.sd * n)}"
            for one, n in ((small, times), (scaled, 1), (large, 1))
        ]
        yield f"| {row.label} | {' | '.join(cells)} | {ratio} |"
    yield ""


def shape_table(figures: Sequence[dict[str, Any]], first: str, second: str) -> Iterator[str]:
    """Figures of two shapes and their distance."""
    rows = [
        [one["label"], f"{one['before']:.1f}", f"{one['after']:.1f}", one["unit"], f"{one['distance']:.3f}"]
        for one in figures
    ]
    yield f"| figure | {first} | {second} | unit | distance |"
    yield "|---|---:|---:|---|---:|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def in_short(found: dict[str, Any]) -> Iterator[str]:
    """What it comes to, in sentences."""
    every = list(effects(found))
    counts: dict[str, int] = {}
    for _, _, made in every:
        said = verdict(made["scaled"], made["large"])
        counts[said] = counts.get(said, 0) + 1
    near = sum(made["scaled"].apart(made["large"]) <= 2 for _, _, made in every)
    total = len(every)
    yield f"* {total} effects were compared, under {len(COMPARED) - 1} policies."
    yield (
        f"* Shown by both with the same sign: {counts.get('same', 0)}. Shown by neither: {counts.get('neither', 0)}. "
        f"Missed: {counts.get('missed', 0)}. Invented: {counts.get('invented', 0)}. Opposite: {counts.get('opposite', 0)}."
    )
    yield f"* {near} of {total} scaled effects lie within two standard errors of the large recording's."
    plain = sum(made["small"].apart(made["large"]) <= 2 for _, _, made in every)
    yield f"* Without any scaling, {plain} of the small recording's effects do."
    for policy, row, made in every:
        if verdict(made["scaled"], made["large"]) in ("invented", "opposite"):
            yield (
                f"* Not borne out: {ROWS[row].label} under `{policy}`. Scaled it is {made['scaled'].words} per cent, recorded "
                f"{made['large'].words}."
            )


def machines(found: dict[str, Any]) -> Iterator[str]:
    """The three demands."""
    yield "| demand | memory | zones | CPUs | allocations | seconds |"
    yield "|---|---:|---|---:|---:|---:|"
    for group in GROUPS:
        one = found[group]
        pages = sum(pages for _, pages in one["zones"])
        zones = ", ".join(f"{name} {pages / (1 << 18):.2f} GiB" for name, pages in one["zones"])
        name = one["name"] if group != "scaled" else f"{found['small']['name']}, {found['memory']} copies"
        yield (
            f"| {name} | {pages / (1 << 18):.2f} GiB | {zones} | {one['cpus']} | {one['allocations']:,} | {one['seconds']:.0f} |"
        )
    yield ""


def why(found: dict[str, Any]) -> Iterator[str]:
    """What the two machines differ in besides, with the figures."""
    small, scaled, large = (found[group] for group in GROUPS)
    per_gib = [
        one["allocations"] / (sum(pages for _, pages in one["zones"]) / (1 << 18))
        for one in (small, scaled, large)
    ]
    yield (
        f"* **Memory grew, work did not.** The large recording asks {per_gib[2]:,.0f} times a GiB, "
        f"the small one {per_gib[0]:,.0f}, the scaled one {per_gib[1]:,.0f}. "
        "One program ran there with more memory; copies are more programs."
    )
    yield (
        f"* **Rates.** The scaled demand asks {scaled['allocations'] / scaled['seconds']:,.0f} times a second, the large one "
        f"{large['allocations'] / large['seconds']:,.0f}."
    )
    names = [", ".join(name for name, _ in one["zones"]) for one in (scaled, large)]
    if names[0] != names[1]:
        yield f"* **Zones.** The scaled machine has {names[0]}, the large one {names[1]}: scaling keeps each zone's share."
    yield (
        "* **Fragmentation at the start.** The scaled start is the small machine's, laid down several times. "
        "The large machine was booted: its kernel's pages lie together."
    )
    yield (
        "* **CPUs.** Copies take turns on the same CPUs. Their per-CPU lists are one set, as large as the kernel makes them for "
        "the memory."
    )
    yield ""


def scaling_document(found: dict[str, Any]) -> str:
    """The page, of what ``docs/generate_scaling.py`` has measured."""
    large, small = found["large"]["name"], found["small"]["name"]
    command = f"python docs/generate_scaling.py {small} {large} --memory {found['memory']}"
    parts = [
        "<!-- SPDX-License-Identifier: GPL-2.0-or-later -->",
        "# Scaling held out",
        "",
        "A recording of a small machine is scaled to the size of a large one ([how](../scale.md)). "
        "The same workload was recorded on a machine of that size, too, and no figure of it went into the scaling. "
        "Does the scaled recording say of a policy what the large recording says?",
        "",
        f"Made by `{command} --repeats {found['repeats']} --draws {found['draws']}`, version {found['version']}.",
        "The tables, and the figures of the sections around them, are not written by hand.",
        "",
        *machines(found),
        f"Each policy was replayed {found['repeats']} times on each demand, in {found['loop']['scaled']} loop. "
        f"The scaled replays are dealt to {found['draws']} scaled demands of different seeds.",
        "",
        "## In short",
        "",
        *in_short(found),
        "",
        "## Effects",
        "",
        f"A `*` is a difference shown by the exact permutation test (p at most {LEVEL}, not corrected). "
        "*Same*: shown by both, with one sign. *Neither*: shown by none. *Missed*: by the large recording alone. "
        "*Invented*: by the scaled one alone. The interval is of the logarithm of the ratio, by the delta method.",
        "",
        *effect_tables(found),
        "## How far this was held out",
        "",
        "No figure of the large recording is an input of scaling. "
        "One rule was changed after this page had first been made, though. "
        "In its first form copies that share CPUs worked in the recorded time, each that many times as fast.",
        "",
        "That form had the opposite sign in 3 of the 12 effects, and 5 within two standard errors. Mixed pageblocks under "
        "`evacuate,skip-hint=ignore` were 39 % more, and 44 % fewer on the large recording. "
        "The background had too little time for the work. Now copies take turns at the recorded speed. "
        "Another pair of recordings would tell whether that holds.",
        "",
        "## Levels",
        "",
        "Means under `mainline`, with standard deviations. The small recording's are multiplied by the copies.",
        "",
        *level_table(found),
        "## Why they differ",
        "",
        *why(found),
        "## What scaling kept",
        "",
        "The small recording's demand and the scaled one ([the figures](../scale.md#what-it-keeps)):",
        "",
        *shape_table(found["kept"], "recorded, small", "scaled"),
        "The large recording's demand and the scaled one:",
        "",
        *shape_table(found["held_out"], "recorded, large", "scaled"),
    ]
    return "\n".join(parts).rstrip() + "\n"
