# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of groups of repeats, be they replays or recordings of real kernels: mean, spread, and what they say of chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from rich.text import Text

from kevacuate.measure.permutation import (
    APART,
    DIFFERS,
    EQUAL,
    LEVEL,
    SAME,
    UNDECIDED,
    UNKNOWN,
    Decision,
    Direction,
    decide,
    mean,
    spread,
)
from kevacuate.percent import percent

MARKS = {"*": DIFFERS, "+": APART, "=": EQUAL, "?": UNDECIDED, "-": UNKNOWN}
"""What stands for a verdict where there is little room; p alone says that no difference is shown."""


class Named(Protocol):
    """What a row is called."""

    @property
    def id(self) -> str:
        """What code and scripts know the row by."""

    @property
    def section(self) -> str:
        """Heading that the row stands under."""

    @property
    def label(self) -> str:
        """What people see."""

    @property
    def unit(self) -> str:
        """Unit of its values."""

    @property
    def direction(self) -> Direction:
        """Which way is better."""


STYLES = {"better": "green", "worse": "red"}
"""How the terminal shows what :meth:`kevacuate.measure.permutation.Direction.judged` says."""

R = TypeVar("R", bound=Named)


@dataclass(frozen=True)
class GroupRow(Generic[R]):
    """One row of the result: every repeat's value by group, and what each group says against the first."""

    row: R
    values: tuple[tuple[float | None, ...], ...]
    decisions: tuple[Decision, ...]
    """Of every group but the first."""

    @classmethod
    def of(cls, row: R, values: Iterable[Iterable[float | None]]) -> GroupRow[R]:
        """From the values of each group."""
        table = tuple(tuple(group) for group in values)
        return cls(row, table, tuple(decide(table[0], other) for other in table[1:]))

    def summary(self, group: int) -> tuple[float | None, float | None]:
        """Mean and spread of a group, of the repeats that have a value."""
        known = [v for v in self.values[group] if v is not None]
        return (mean(known), spread(known)) if known else (None, None)

    @property
    def shown(self) -> bool:
        """Whether any repeat has a value."""
        return any(v is not None for group in self.values for v in group)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        summaries = [self.summary(i) for i in range(len(self.values))]
        return {
            "id": self.row.id,
            "section": self.row.section,
            "label": self.row.label,
            "unit": self.row.unit,
            "direction": str(self.row.direction),
            "values": [list(group) for group in self.values],
            "means": [m for m, _ in summaries],
            "spreads": [s for _, s in summaries],
            "decisions": [d.as_dict() for d in self.decisions],
        }


def number(value: float) -> str:
    """A figure as people read it: whole numbers with separators, others with three significant digits."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def change(base: float, value: float) -> str:
    """The change in per cent; ``=`` for none, ``new`` where the base is 0.

    Nothing where a value is negative: that is a fragmentation index, whose -1,000 is no amount. A decimal is added where
    the whole number would say that nothing changed, or that nothing is left.
    """
    if value == base:
        return "="
    if min(base, value) < 0:
        return ""
    if not base:
        return "new"
    share = (value - base) / base
    text = percent(share, signed=True)
    if text in ("+0 %", "-0 %") or (text == "-100 %" and value):
        text = percent(share, 1, signed=True)
    return "<0.1 %" if text in ("+0.0 %", "-0.0 %") else text


def mean_text(middle: float | None, varies: float | None) -> str:
    """``142 ± 105``: a mean, and its standard deviation where repeats differ, in two digits or whole numbers."""
    if middle is None:
        return "-"
    if not varies:
        return number(middle)
    digits = min(max(1 - floor(log10(varies)), 0), 6)
    return f"{middle:,.{digits}f} ± {varies:,.{digits}f}"


def moved(row: GroupRow[R], group: int) -> str:
    """The change of a group's mean against the first's."""
    base, own = row.summary(0)[0], row.summary(group)[0]
    return change(base, own) if base is not None and own is not None else ""


def verdict_text(decision: Decision) -> str:
    """The verdict and its p; p alone where no difference is shown, the verdict alone where p says no more."""
    if decision.p is None or decision.verdict == EQUAL:
        return decision.verdict
    return p_text(decision) if decision.verdict == SAME else f"{decision.verdict}, {p_text(decision)}"


def mark_text(decision: Decision) -> str:
    """The same in few characters: ``0.016 *``, ``0.12``, ``=`` (:data:`MARKS`)."""
    mark = {verdict: mark for mark, verdict in MARKS.items()}.get(decision.verdict, "")
    if decision.p is None or decision.verdict == EQUAL:
        return mark
    return f"{p_text(decision)[2:].replace(' ', '')} {mark}".rstrip()


def p_text(decision: Decision) -> str:
    """``p 0.016``; ``p < 0.001`` below that."""
    return p_words(decision.p)


def p_words(p: float | None) -> str:
    """The same of a p alone; None counts as 0."""
    p = p or 0.0
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}" if p < 0.1 else f"p {p:.2f}"


def told_apart(decision: Decision) -> bool:
    """Whether repeats can tell the difference from chance."""
    return decision.verdict in (DIFFERS, APART)


def style(row: Named, decision: Decision) -> str:
    """Green where it is better and told apart, red where worse, dim where nothing is told."""
    said = row.direction.judged(decision.difference) if told_apart(decision) else ""
    return STYLES[said] if said else "bold" if decision.verdict == DIFFERS else "dim"


def cells(row: GroupRow[R], group: int, *, brief: bool = False) -> list[Text]:
    """The cells of one group: mean, and unless it is the first its change and what that says, in words or *brief*."""
    shown = [Text(mean_text(*row.summary(group)))]
    if group:
        decision = row.decisions[group - 1]
        how = style(row.row, decision)
        said = mark_text(decision) if brief else verdict_text(decision)
        shown += [Text(moved(row, group), style=how), Text(said, style=how)]
    return shown


class Part(NamedTuple):
    """A piece of a conclusion: what kind it is, its text (one or more sentences), and the ids of the rows that it speaks of."""

    kind: str
    text: str
    rows: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"kind": self.kind, "text": self.text, "rows": list(self.rows)}


class Conclusion(tuple[Part, ...]):
    """The parts of a conclusion, in order; as a string their texts, a line each."""

    __slots__ = ()

    def __str__(self) -> str:
        """The texts."""
        return "\n".join(part.text for part in self)


def found(names: Sequence[str], rows: Sequence[GroupRow[R]], what: str = "rows") -> Iterator[Part]:
    """What the test found, group by group (:func:`found_in`)."""
    for i in range(1, len(names)):
        yield from found_in(names, i, rows, what)


def found_in(
    names: Sequence[str], group: int, rows: Sequence[GroupRow[R]], what: str = "rows"
) -> Iterator[Part]:
    """What the test found in one group: how many rows differ, and how many would by chance alone; nothing if none was tested."""
    tested = [row for row in rows if row.decisions[group - 1].p is not None]
    if not tested:
        return
    decisions = [row.decisions[group - 1] for row in tested]
    least = max(d.least_p or 0.0 for d in decisions)
    few = least > LEVEL  # no p can reach LEVEL: nothing can differ, by chance or not
    many = sum(d.verdict == (APART if few else DIFFERS) for d in decisions)
    is_, would = (
        ("is apart" if many == 1 else "are apart", "would be")
        if few
        else ("differ" + "s" * (many == 1), "would")
    )
    said = f"{names[group]} against {names[0]}: of {len(decisions)} {what} {many} {is_}."
    chance = f"About {max(least, LEVEL) * len(decisions):.0f} {would} by chance alone."
    together = f"{what.capitalize()} are correlated, so they tend to differ together."
    text = f"{said} {chance} {together}"
    yield Part("found", text, tuple(row.row.id for row in tested if told_apart(row.decisions[group - 1])))


def by_id(rows: Iterable[GroupRow[R]]) -> dict[str, GroupRow[R]]:
    """The rows by their ids."""
    return {row.row.id: row for row in rows}


def rows_of(
    rows: Iterable[R], groups: Sequence[Sequence[Any]], value: Callable[[R, Any], float | None]
) -> list[GroupRow[R]]:
    """Every row that any repeat has a value for; *value* gives a repeat's, None where it has none."""
    made = [GroupRow.of(row, ([value(row, one) for one in group] for group in groups)) for row in rows]
    return [row for row in made if row.shown]
