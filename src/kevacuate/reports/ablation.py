# SPDX-License-Identifier: GPL-2.0-or-later
"""An ablation as plain text of at most 80 columns, fit for a mailing list; in words; and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from kevacuate.measure.ablated import AblatedRow, Ablation
from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.intervals import POWER
from kevacuate.measure.permutation import LEVEL
from kevacuate.percent import percent
from kevacuate.recording.machine import kernel_words
from kevacuate.reports.comparison.group_rows import change, mean_text, number, p_words
from kevacuate.reports.comparison.worth import worth_words
from kevacuate.reports.escape import visible

WIDTH = 80
"""Columns of the text."""

HEADS = {
    "extfrag.claims_from_movable": "claims",
    "extfrag.steals_from_movable": "steals",
    "end.mixed_blocks": "mixed",
    "end.polluted_blocks": "pollut.",
    "end.regions_2m_movable_only": "2M mov.",
    "vmstat.thp_fault_fallback": "THPfall",
    "vmstat.allocstall": "stalls",
}
"""The rows that decide, in seven characters."""

BETTER, WORSE = "*", "!"
"""What stands behind a change that is told apart from chance."""

_MARKS = {"better": BETTER, "worse": WORSE}
_NAME, _CELL = 24, 8
_INDENT = "    "


def change_cell(row: AblatedRow) -> str:
    """The change of a row, with its mark or a space behind it."""
    said = change(row.base, row.mean).replace(" %", "%")
    return said + _MARKS.get(row.judged, " ")


def _deciding(ablation: Ablation) -> list[str]:
    """The rows that decide and are not 0 throughout."""
    rows = [row for one in ablation.variants for row in one.rows]
    return [row_id for row_id in DECIDING if any(row.id == row_id and (row.base or row.mean) for row in rows)]


def ablation_table(ablation: Ablation) -> str:
    """Every variant a line: how each row that decides changed; under the heads the policy's own means and spreads."""
    shown = _deciding(ablation)
    base = {row.id: row for row in ablation.variants[0].rows}
    heads = "".join(f"{HEADS[row_id]:>{_CELL - 1}} " for row_id in shown)
    means = "".join(f"{number(base[row_id].base):>{_CELL - 1}} " for row_id in shown)
    spreads = "".join(f"{number(base[row_id].base_spread):>{_CELL - 1}} " for row_id in shown)
    lines = [
        f"{'':{_NAME}}{heads}",
        f"{'mean as it is':{_NAME}}{means}",
        f"{'standard deviation':{_NAME}}{spreads}",
    ]
    for one in ablation.variants:
        cells = {row.id: change_cell(row) for row in one.rows}
        name = visible(one.name)
        name = name if len(name) < _NAME else f"{name[: _NAME - 2]}~"
        lines.append(f"{name:{_NAME}}" + "".join(f"{cells[row_id]:>{_CELL}}" for row_id in shown))
    return "\n".join(line.rstrip() for line in lines)


def row_words(ablation: Ablation, row: AblatedRow) -> str:
    """A row that is told apart: both means with their spreads, and p."""
    label, unit = ablation.names[row.id]
    before, after = mean_text(row.base, row.base_spread), mean_text(row.mean, row.spread)
    return f"{label} {before} to {after} {unit}, {p_words(row.p)}"


def ablation_lines(ablation: Ablation) -> Iterator[str]:
    """Every variant: what it is, what is said of it, what it buys and what it costs."""
    for one in ablation.variants:
        what = f": {one.what}" if one.what and one.what != one.name else ""
        yield textwrap.fill(
            f"{visible(one.name)}{visible(what)}. {one.verdict.capitalize()}.",
            WIDTH,
            subsequent_indent=_INDENT,
            break_on_hyphens=False,
        )
        for head, rows in (("buys", one.buys), ("costs", one.paid)):
            for row in rows:
                yield textwrap.fill(
                    f"{head} {row_words(ablation, row)}",
                    WIDTH,
                    initial_indent=_INDENT,
                    subsequent_indent=2 * _INDENT,
                    break_on_hyphens=False,
                )


def ablation_title(ablation: Ablation) -> str:
    """What was ablated, on what."""
    about = ablation.recording
    return (
        f"{ablation.base} on {about['name']}, {kernel_words(about['kernel'])}, {ablation.loop} loop, "
        f"{ablation.replays} replays of each:"
    )


def ablation_conclusion(ablation: Ablation) -> str:
    """What the model says, in a sentence or two."""
    tested = len(ablation.variants)
    helps = [one.name for one in ablation.variants if any(row.judged == "better" for row in one.rows)]
    harms = [one.name for one in ablation.variants if any(row.judged == "worse" for row in one.rows)]
    said = [_which("better", helps, tested), _which("worse", harms, tested)]
    return " ".join(said)


def _which(how: str, names: list[str], tested: int) -> str:
    """Which variants make a row that decides better, or worse."""
    if not names:
        return f"The model shows no variant to make a row that decides {how}."
    makes = "makes" if len(names) == 1 else "make"
    return f"{len(names)} of {tested} variants {makes} a row that decides {how}: {visible('; '.join(names))}."


def reproduced_by(ablation: Ablation, path: str) -> str:
    """The command that gives the same again; *path* is the recording's, as it is named there."""
    seed = f" --seed {ablation.seed}" if ablation.seed else ""
    return f"kevacuate ablate {path} --policy {ablation.base} --repeats {ablation.replays}{seed} --loop {ablation.loop}"


def ablation_basis(ablation: Ablation) -> str:
    """How it was found, what would have been, and what it is worth."""
    found = ", ".join(f"{HEADS[row]} {percent(share)}" for row, share in ablation.found.items())
    least = f"\n{POWER * 10:.0f} of 10 such ablations would have found a change of: {found}." if found else ""
    return (
        f"Changes are against {ablation.base} as it is. {BETTER} is better and {WORSE} is worse, told apart from chance. "
        f"The rows that decide, of all variants together, are corrected by Holm's step-down; what is paid is, too. "
        f"Chance alone gives a mark among either in at most {percent(LEVEL)} of ablations.{least}\n"
        f"{worth_words(_deciding(ablation), ablation.loop)} --repeats {ablation.replays} gives the same table again."
    )


def wrapped(text: str) -> str:
    """Paragraphs of at most WIDTH columns."""
    return "\n".join(textwrap.fill(line, WIDTH, break_on_hyphens=False) for line in text.split("\n"))


def ablation_text(ablation: Ablation) -> str:
    """All of it, as it may be mailed."""
    parts = [wrapped(ablation_title(ablation)), ablation_table(ablation), "\n".join(ablation_lines(ablation))]
    return "\n\n".join([*parts, wrapped(ablation_conclusion(ablation)), wrapped(ablation_basis(ablation))])


def ablation_json(ablation: Ablation) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    told = {"conclusion": ablation_conclusion(ablation), "basis": ablation_basis(ablation)}
    return {**ablation.to_json(), **told}
