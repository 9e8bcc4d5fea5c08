# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/kernels.md: what boots of real kernels say of the patch, from tables of repeats; no model is involved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fidelity_document import markdown

from kevacuate.fidelity.verdict.changes import Groups, can_decide, changes
from kevacuate.fidelity.verdict.columns import ALL, ONLY_PATCHED, Column
from kevacuate.fidelity.verdict.outcomes import FIRST_IMAGE, SECOND_IMAGE, KernelRun, Workload, read_repeats
from kevacuate.measure.fidelity import Change
from kevacuate.measure.intervals import Sample
from kevacuate.measure.permutation import DRAWS, LEVEL
from kevacuate.percent import percent
from kevacuate.policy import BASELINE, BOOTED
from kevacuate.reports.fidelity.verdict import figure, interval_text, p_figure, sample_text, signed

STOCK = BOOTED[BASELINE]
PATCHED = tuple(kernel for policy, kernel in BOOTED.items() if policy != BASELINE)
"""The kernels, as the tables name them."""

ABOUT_PATCHED = {
    "patched": "the patch as posted, which honours compaction's skip hint",
    "fixskip": "the patch with the skip hint ignored",
}

HEADS = ("row", "stock", "change", "95 % interval", "p", "corrected p", "would be seen")


@dataclass(frozen=True)
class Population:
    """Boots of one workload with one disk image: what may be compared with each other."""

    workload: Workload
    image: str
    boots: Mapping[str, Sequence[Mapping[str, float]]]
    """Kernel to the figures of its boots, by column."""

    @property
    def number(self) -> int:
        """Boots of all kernels."""
        return sum(len(boots) for boots in self.boots.values())

    @property
    def title(self) -> str:
        """What was booted."""
        return f"{self.workload}" + (f", {self.image} image" if self.image else ", of an unknown image")

    def values(self, kernel: str, column: str) -> list[float]:
        """A figure of a kernel's boots."""
        return [values[column] for values in self.boots[kernel] if column in values]

    def groups(self, kernel: str) -> dict[str, Groups]:
        """Every figure that varies, without and with the patch; what only the patch does is no outcome."""
        found: dict[str, Groups] = {}
        for column in ALL:
            groups = self.values(STOCK, column.name), self.values(kernel, column.name)
            varies = len({*groups[0], *groups[1]}) > 1
            if column.name not in ONLY_PATCHED and all(groups) and varies and can_decide(groups):
                found[column.name] = groups
        return found

    def changes(self, kernel: str) -> dict[str, Change]:
        """What becomes of every figure under a patched kernel, corrected for the number of these rows."""
        return changes(self.groups(kernel))

    @property
    def decides(self) -> bool:
        """Whether there are enough boots of all kernels to tell any difference."""
        return all(self.groups(kernel) for kernel in PATCHED)


def populations(tables: Sequence[Path]) -> list[Population]:
    """The populations of the tables, those with most boots first.

    Raises
    ------
    KevacuateError
        A table cannot be read, or is none.
    """
    found: dict[tuple[Workload, str], list[KernelRun]] = {}
    for run in read_repeats(tables):
        if run.kernel in BOOTED.values():
            found.setdefault((run.workload, run.image), []).append(run)
    made = [
        Population(
            workload,
            image,
            {kernel: [run.values for run in runs if run.kernel == kernel] for kernel in BOOTED.values()},
        )
        for (workload, image), runs in found.items()
    ]
    return sorted(made, key=lambda one: (-one.number, str(one.workload), one.image))


def kernels_document(tables: Sequence[Path]) -> str:
    """The page, as Markdown.

    Raises
    ------
    KevacuateError
        As :func:`populations`.
    """
    every = populations(tables)
    told = [one for one in every if one.decides]
    found = {one.title: {kernel: one.changes(kernel) for kernel in PATCHED} for one in told}
    lines = [
        "<!-- SPDX-License-Identifier: GPL-2.0-or-later -->",
        "# What booted kernels say of the patch",
        "",
        *_head(tables, told),
        "",
        *_short(told, found),
        *_method(),
    ]
    for one in told:
        lines += _population(one, found[one.title])
    lines += _left_out([one for one in every if not one.decides])
    return "\n".join(lines)


def _head(tables: Sequence[Path], told: Sequence[Population]) -> Iterator[str]:
    names = " ".join(path.name for path in tables)
    boots = sum(one.number for one in told)
    images = {
        image: sum(one.number for one in told if one.image == image) for image in (FIRST_IMAGE, SECOND_IMAGE)
    }
    counts = [f"{number} with the {image} disk image" for image, number in images.items() if number]
    yield f"Made by `python docs/generate_kernels.py {names}`. Nothing in it is written by hand, and no model is involved."
    yield ""
    yield (
        f"Linux 7.2 was booted {boots} times for it: {', '.join(counts)}. The kernels are `stock` without the patch, `patched` "
        "with it as posted, and `fixskip` with its skip hint ignored. Boots of one section ran one program with one seed."
    )


def _short(
    told: Sequence[Population], found: Mapping[str, Mapping[str, Mapping[str, Change]]]
) -> Iterator[str]:
    """What each population says, in a line."""
    yield "## In short"
    yield ""
    every = [row for kernels in found.values() for rows in kernels.values() for row in rows.values()]
    sure, raw = (
        sum(p <= LEVEL for p in some) for some in ([r.corrected for r in every], [r.p for r in every])
    )
    yield (
        f"After correction {sure} of {len(every)} rows differ{'s' if sure == 1 else ''}. Before it {raw} "
        f"do{'es' if raw == 1 else ''}, where chance alone gives about {LEVEL * len(every):.0f}."
    )
    yield ""
    for one in told:
        sizes = ", ".join(f"{kernel} {len(boots)}" for kernel, boots in one.boots.items())
        yield f"* **{one.title}** ({sizes} boots)."
        for kernel in PATCHED:
            yield f"  {_found(kernel, found[one.title][kernel])}"
        yield f"  {_seen(found[one.title])}"
    yield ""


def _found(kernel: str, rows: Mapping[str, Change]) -> str:
    """How many rows of a kernel differ, before and after correction, and which."""
    raw = [name for name, row in rows.items() if row.p <= LEVEL]
    sure = [name for name in raw if rows[name].corrected <= LEVEL]
    text = (
        f"`{kernel}`: {len(sure)} of {len(rows)} rows differ{'s' if len(sure) == 1 else ''} after correction. Before it "
        f"{len(raw)} {'does' if len(raw) == 1 else 'do'}, where chance gives about {LEVEL * len(rows):.1f}."
    )
    if not raw:
        return text
    labels = {column.name: column.label for column in ALL}
    first = min(raw, key=lambda name: rows[name].p)
    row = rows[first]
    return (
        f"{text} Clearest: {labels[first]} {signed(row.difference.value)}{_percent(row.difference.value, row, signed_=True)}, "
        f"p {p_figure(row.p)}."
    )


def _seen(rows: Mapping[str, Mapping[str, Change]]) -> str:
    """The power for the figure that the patch is for."""
    told = [row["end_mixed"] for row in rows.values() if "end_mixed" in row]
    shares = sorted(row.difference.seen / row.before.mean for row in told if row.before.mean)
    if not shares:
        return "Mixed blocks were not counted."
    span = percent(shares[0]) if len(shares) == 1 else f"{percent(shares[0])} and {percent(shares[-1])}"
    return f"A change of mixed blocks at the end by {span} would have been seen."


def _percent(value: float, row: Change, *, signed_: bool = False) -> str:
    base = row.before.mean
    if not base:
        return ""
    return f" ({percent(value / base, signed=True)})" if signed_ else f" ({percent(value / base)})"


def _method() -> Iterator[str]:
    yield "## How to read it"
    yield ""
    yield "* A figure is mean (standard deviation). *Change* is the mean of the patched kernel less that of the stock kernel."
    yield "* The interval is Welch's, at 95 %: it takes neither equal spreads nor equal numbers of boots."
    yield (
        f"* *p* is of the two-sided permutation test of the means, exact or of {DRAWS:,} draws. *Corrected p* is Holm's, for all "
        "rows of its table."
    )
    yield "* *Would be seen* is the smallest true change that such a test finds in 80 % of cases, before correction."
    yield "* Rows that are equal in every boot of both kernels are left out. Rows depend on each other."
    yield "* Boots with different disk images are different populations. They stand in different sections and are never mixed."
    yield ""


def _population(one: Population, found: Mapping[str, Mapping[str, Change]]) -> Iterator[str]:
    yield f"## {one.title[0].upper()}{one.title[1:]}"
    yield ""
    for kernel in PATCHED:
        yield (f"### {kernel} against stock: {one.title}")
        yield ""
        yield f"`{kernel}` is {ABOUT_PATCHED[kernel]}. Boots: {len(one.boots[STOCK])} stock, {len(one.boots[kernel])} {kernel}."
        yield ""
        yield from _table(kernel, found[kernel])
        yield ""
    yield from _evacuated(one)


def _table(kernel: str, found: Mapping[str, Change]) -> Iterator[str]:
    rows = [_cells(column, found[column.name]) for column in ALL if column.name in found]
    yield from markdown((HEADS[0], HEADS[1], kernel, *HEADS[2:]), rows, left=1)


def _cells(column: Column, row: Change) -> tuple[str, ...]:
    change = row.difference
    return (
        column.label,
        sample_text(row.before),
        sample_text(row.after),
        f"{signed(change.value)}{_percent(change.value, row, signed_=True)}",
        interval_text(row),
        p_figure(row.p),
        p_figure(row.corrected),
        f"{figure(change.seen)}{_percent(change.seen, row)}",
    )


def _evacuated(one: Population) -> Iterator[str]:
    """What the patch itself did."""
    rows = []
    for column in ALL:
        values = [one.values(kernel, column.name) for kernel in PATCHED]
        if column.name in ONLY_PATCHED and all(values):
            rows.append((column.label, *(sample_text(Sample.of(some)) for some in values)))
    if rows:
        yield f"### What evacuation did: {one.title}"
        yield ""
        yield from markdown(("row", *PATCHED), rows, left=1)
        yield ""


def _left_out(few: Sequence[Population]) -> Iterator[str]:
    if few:
        yield "## Left out"
        yield ""
        yield "Too few boots of these can tell any difference:"
        yield ""
        yield from (f"- {one.title}: {one.number} boot{'s' if one.number > 1 else ''}" for one in few)
        yield ""
