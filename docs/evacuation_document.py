# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/results/evacuation.md: the evacuation patch taken apart, from ablations on recorded demands; all of it is the model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fidelity_document import markdown

from kevacuate.measure.ablated import Ablated, AblatedRow, Ablation
from kevacuate.measure.deciding import DECIDING
from kevacuate.measure.intervals import POWER
from kevacuate.measure.permutation import LEVEL
from kevacuate.measure.trustrecord import record
from kevacuate.percent import percent
from kevacuate.reports.ablation import (
    BETTER,
    WORSE,
    ablation_conclusion,
    ablation_lines,
    ablation_table,
    ablation_title,
    change_cell,
    reproduced_by,
    wrapped,
)
from kevacuate.reports.ablation import (
    HEADS as SHORT,
)
from kevacuate.reports.comparison.group_rows import change, mean_text, p_words

COMMAND = "python docs/generate_evacuation.py"

HEADS = (
    "variant",
    "row",
    "as it is",
    "variant's",
    "change",
    "p",
    "corrected p",
    "verdicts that booted kernels bore out",
)

INTRODUCTION = f"""<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
# The evacuation patch taken apart

Made by `{COMMAND}`. Nothing in it is written by hand, and everything in it is the model's.

The patch is "mm: page_alloc: async evacuation of stolen movable pageblocks" (RFC PATCH 06/40, May 2026).
Each part of it is taken out, one at a time. Each thing that it leaves open is done, one at a time and all together.
[Ablation](../ablate.md) says what each variant is, and how it is decided.
What booted kernels say without a model is [another page](kernels.md).

## How to read it

* A table shows the change of each mean against the policy in its title, as it is.
  `{BETTER}` is better and `{WORSE}` is worse, told apart from chance.
* Marks are corrected for all rows of all variants of a table.
  Chance alone gives any mark in at most {percent(LEVEL)} of such tables, and in as many for what is paid.
* A change without a mark is one that chance may have made. What would have been found stands below each table.
* Behind it are both means with their standard deviations, wherever p is at most {LEVEL} before correction.
  Rows that make things worse are there, too.
* The last column holds the model against kernels that were booted again and again.
  It says how many of its verdicts on that row were theirs.
"""


def evacuation_document(ablations: Sequence[Ablation], others: Sequence[Ablation] = ()) -> str:
    """The page, of these ablations in this order; of *others* only what they have in common with these."""
    parts = [INTRODUCTION, "## In short\n"]
    parts += ["\n".join(f"* {line}" for line in in_short(ablations)) + "\n"]
    parts += [worth(ablations)]
    if others:
        parts.append(elsewhere([one for one in ablations if one.base == others[0].base], others))
    for number, ablation in enumerate(ablations):
        if number == 0 or ablations[number - 1].recording["name"] != ablation.recording["name"]:
            parts.append(f"## {ablation.recording['name']}\n")
        parts.append(section(ablation))
    return "\n".join(parts)


def in_short(ablations: Sequence[Ablation]) -> Iterator[str]:
    """A line for each ablation: what the model says."""
    for ablation in ablations:
        yield f"**{ablation.recording['name']}, `{ablation.base}`.** {ablation_conclusion(ablation)}"


def worth(ablations: Sequence[Ablation]) -> str:
    """What a verdict on each row that decides is worth."""
    known = record()
    shown = dict.fromkeys(row.id for ablation in ablations for one in ablation.variants for row in one.rows)
    names = {row: label for ablation in ablations for row, (label, _) in ablation.names.items()}
    lines = [("row that decides", "demands", "verdicts asked", "the kernels'", "false", "has earned trust")]
    for row_id in shown:
        told = known.of(row_id, "closed")
        earned = "yes" if told.earned else "no" if told.asked else "never held against a kernel"
        lines.append(
            (names[row_id], str(told.demands), str(told.asked), str(told.right), str(told.false), earned)
        )
    return (
        "## What the model's verdict is worth\n\n"
        "Kernels were booted again and again with and without the patch, and the model was asked what it does to those demands. "
        "That was in closed loop. No booted kernel was held against an open loop, nor a variant but `skip-hint=ignore`.\n\n"
        + "\n".join(markdown(lines[0], lines[1:]))
        + "\n"
    )


def marks(ablation: Ablation) -> dict[tuple[str, str], AblatedRow]:
    """The rows that decide and are told apart, by variant and row."""
    return {(one.name, row.id): row for one in ablation.variants for row in one.rows if row.judged}


def cell(ablation: Ablation, variant: str, row_id: str) -> str:
    """The change of a variant's row; a dash where the ablation has none."""
    rows = [row for one in ablation.variants if one.name == variant for row in one.rows if row.id == row_id]
    return change_cell(rows[0]) if rows else "- "


def elsewhere(shown: Sequence[Ablation], others: Sequence[Ablation]) -> str:
    """Whether what is told apart in the ablations that are shown is so in others of that policy: a table of all such rows."""
    columns = [*shown, *others]
    order = list(dict.fromkeys(one.name for ablation in columns for one in ablation.variants))
    pairs = sorted(
        {pair for ablation in columns for pair in marks(ablation)},
        key=lambda pair: (order.index(pair[0]), [*DECIDING].index(pair[1])),
    )
    lines = [
        wrapped(f"{others[0].base}: changes of rows that decide, where any recording tells them apart"),
        "",
    ]
    lines += [
        f"{at}: {one.recording['name']}, {one.loop} loop, {one.replays} replays of each"
        for at, one in enumerate(columns, 1)
    ]
    lines += ["", f"{'':31}" + "".join(f"{at:>7} " for at in range(1, len(columns) + 1)).rstrip()]
    for variant, row_id in pairs:
        cells = "".join(f"{cell(one, variant, row_id):>8}" for one in columns)
        lines.append(f"{variant:23} {SHORT[row_id]:7}{cells}".rstrip())
    again = [reproduced_by(one, one.recording["name"]) for one in others]
    return (
        "## Do they hold on other recordings?\n\n"
        + "\n".join(f"* {line}" for line in agreement(shown, others))
        + "\n\n```text\n"
        + "\n".join(lines)
        + "\n```\n\nThe lines that give the other recordings' again:\n\n"
        + "<!-- needs: minutes recordings -->\n```sh\n"
        + "\n".join(again)
        + "\n```\n"
    )


def agreement(shown: Sequence[Ablation], others: Sequence[Ablation]) -> Iterator[str]:
    """How many of the others have each mark of those that are shown, or the opposite; which marks only others have."""
    ours = {pair: row.judged for one in shown for pair, row in marks(one).items()}
    names = {row: label for one in shown for row, (label, _) in one.names.items()}
    theirs = [{pair: row.judged for pair, row in marks(one).items()} for one in others]
    for (variant, row_id), judged in ours.items():
        found = [one[variant, row_id] for one in theirs if (variant, row_id) in one]
        same = found.count(judged)
        yield (
            f"**{variant}** makes *{names[row_id]}* {judged} above. {same} of {len(others)} other recordings show that, "
            f"and {len(found) - same} the opposite."
        )
    new = {pair for one in theirs for pair in one} - set(ours)
    worse = {pair for one in theirs for pair, judged in one.items() if judged == "worse"} - set(ours)
    yield (
        f"Other recordings alone tell {len(new)} more rows of variants apart, {len(worse)} of them as worse on one at least."
    )


def section(ablation: Ablation) -> str:
    """One ablation: the text for a mail, what reproduces it, and the rows in full."""
    about = ablation.recording
    told = [
        wrapped(ablation_title(ablation)),
        "",
        ablation_table(ablation),
        "",
        *ablation_lines(ablation),
        "",
    ]
    found = ", ".join(f"{ablation.names[row][0]} {percent(share)}" for row, share in ablation.found.items())
    told.append(wrapped(f"{POWER * 10:.0f} of 10 such tables would have found: {found}."))
    text = "\n".join(told)
    rows = list(rows_in_full(ablation))
    full = (
        "\n".join(markdown(HEADS, rows)) if rows else f"No row has a p of at most {LEVEL}, before correction."
    )
    return (
        f"### {about['name']}: {ablation.base}\n\n```text\n{text}\n```\n\nThe line that gives it again:\n\n"
        f"<!-- needs: minutes recordings -->\n```sh\n{reproduced_by(ablation, about['name'])}\n```\n\n{full}\n"
    )


def rows_in_full(ablation: Ablation) -> Iterator[tuple[str, ...]]:
    """Rows with p of at most LEVEL before correction."""
    for one in ablation.variants:
        for row in (*one.rows, *one.costs):
            if row.own_p is not None and row.own_p <= LEVEL:
                yield _full(ablation, one, row)


def _full(ablation: Ablation, one: Ablated, row: AblatedRow) -> tuple[str, ...]:
    """A row of the table of figures."""
    label, unit = ablation.names[row.id]
    told = record().of(row.id, ablation.loop)
    bore = (
        f"{told.right} of {told.asked}" + (f", {told.false} false" if told.false else "")
        if told.asked
        else "none asked"
    )
    return (
        one.name,
        f"{label} ({unit})"
        + {"better": f" {BETTER}".replace("*", "\\*"), "worse": f" {WORSE}"}.get(row.judged, ""),
        mean_text(row.base, row.base_spread),
        mean_text(row.mean, row.spread),
        change(row.base, row.mean),
        p_words(row.own_p).removeprefix("p "),
        p_words(row.p).removeprefix("p "),
        bore,
    )
