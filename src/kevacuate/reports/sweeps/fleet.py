# SPDX-License-Identifier: GPL-2.0-or-later
"""A fleet in words, as tables and as JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from rich.table import Table

from kevacuate.measure.triage import VERDICTS
from kevacuate.percent import percent
from kevacuate.reports.escape import visible
from kevacuate.reports.gfp import gfp_words
from kevacuate.reports.plain import plain_table
from kevacuate.reports.triage.words import HEADLINES, plural
from kevacuate.sweeps.fleet import Cluster, Fleet, Machine
from kevacuate.sweeps.sheets import RATES, SHARES

SHOWN = 10
"""Machines, requesters and tasks that are shown; all are in the JSON."""


def rate(value: float | None) -> str:
    """So many an hour."""
    return "" if value is None else f"{value:,.0f}" if value >= 10 or not value else f"{value:.2g}"


def share(value: float | None) -> str:
    """A share."""
    return "" if value is None else percent(value)


def requester_words(row: dict[str, Any]) -> str:
    """Who asked: type, order and flags."""
    flags = f", {gfp_words(row['gfp'])}" if row["gfp"] is not None else ""
    return f"{row['type']}, order {row['order']}{flags}"


def machines_table(fleet: Fleet) -> Table:
    """The machines that mix most."""
    heads = ["machine", "kernel", "the triage says", "an hour", "steals", "last third", "unusable"]
    table = plain_table(
        "Machines: requests that took part of a movable pageblock", heads, heads[3:], whole=heads[3:]
    )
    for one in fleet.machines[:SHOWN]:
        sheet = one.sheet
        table.add_row(
            one.name,
            sheet["kernel"],
            HEADLINES[sheet["verdict"]],
            rate(sheet["mixing"]),
            share(sheet["steals"]),
            share(sheet["late"]),
            share(sheet["unusable"]),
        )
    return table


def clusters_table(fleet: Fleet) -> Table:
    """Groups of alike machines, and who asks there."""
    heads = ["machines", "fragment", "typical", "an hour", "last third", "unusable", "by whom, most"]
    numbers = ["machines", "fragment", "an hour", "last third", "unusable"]
    table = plain_table("Alike machines: medians", heads, numbers, whole=numbers)
    for one in fleet.clusters:
        figures = one.figures
        table.add_row(
            f"{len(one.machines):,}",
            f"{one.fragmenting:,}",
            one.typical.name,
            rate(figures["mixing"]),
            share(figures["late"]),
            share(figures["unusable"]),
            _most(one),
        )
    return table


def _most(cluster: Cluster) -> str:
    """Who asks most in a cluster."""
    if not cluster.requesters:
        return ""
    top = cluster.requesters[0]
    return f"{requester_words(top)} ({percent(top['share'])})"


def who_table(fleet: Fleet) -> Table | None:
    """Who asks over the fleet; None where nobody did."""
    if not fleet.requesters:
        return None
    heads = ["by whom", "an hour, all machines", "share", "machines"]
    table = plain_table("Who took part of movable pageblocks", heads, heads[1:], whole=heads[1:])
    for row in fleet.requesters[:SHOWN]:
        table.add_row(
            requester_words(row), rate(row["per_hour"]), percent(row["share"]), f"{row['machines']:,}"
        )
    for row in fleet.tasks[:SHOWN]:
        name = f"task {visible(row['name'])}"
        table.add_row(name, rate(row["per_hour"]), percent(row["share"]), f"{row['machines']:,}")
    return table


def fleet_words(fleet: Fleet) -> list[str]:
    """What a fleet comes to, in sentences."""
    machines, fragmenting = len(fleet.machines), sum(one.fragments for one in fleet.machines)
    verb = "fragments" if fragmenting == 1 else "fragment"
    said = [f"{fragmenting:,} of {plural(machines, 'machine')} {verb}."]
    counts = Counter(one.sheet["verdict"] for one in fleet.machines)
    listed = ", ".join(f"{HEADLINES[name]} {counts[name]:,}" for name in VERDICTS if counts[name])
    said.append(f"By verdict: {listed}.")
    top = next((at for at in range(1, machines + 1) if _half(fleet, at)), 0)
    if top and fragmenting:
        are = "machine makes" if top == 1 else "machines make"
        said.append(f"{top:,} {are} half of all requests that took part of a movable pageblock.")
    if fleet.refused:
        were = "recording was" if len(fleet.refused) == 1 else "recordings were"
        name, why = next(iter(fleet.refused.items()))
        said.append(f"{len(fleet.refused):,} {were} refused; of {visible(name)} it is said: {visible(why)}")
    short = sum(one.sheet["lost"] for one in fleet.machines)
    if short:
        said.append(f"{short:,} lost events: their counts are too low.")
    if fleet.picks:
        said.append("Record these in full:")
        said += [f"  {pick_words(fleet, number)}" for number in range(len(fleet.picks))]
    else:
        said.append("No machine fragments, so none needs to be recorded in full.")
    return said


def _half(fleet: Fleet, first: int) -> bool:
    """Whether so many of the first machines make half of the fleet's mixing."""
    whole = sum(one.mixing for one in fleet.machines)
    return whole > 0 and 2 * sum(one.mixing for one in fleet.machines[:first]) >= whole


def pick_words(fleet: Fleet, number: int) -> str:
    """A machine to record in full, why, and how."""
    pick = fleet.picks[number]
    name = visible(pick.machine.name)
    if pick.stands_for:
        like = "1 other" if pick.stands_for == 1 else f"{pick.stands_for:,} others"
        why = f"stands for {like}; together they have {percent(pick.share)} of the mixing"
    else:
        why = f"has {percent(pick.share)} of the mixing"
    return f"{name} {why}. There: `{record_line(pick.machine)}`."


def record_line(machine: Machine) -> str:
    """The command that records a machine in full."""
    stem = machine.name.removesuffix(".kev").replace("/", "-")
    return f"sudo kevacuate record --duration 60 -o {shlex.quote(f'{stem}-full.kev')}"


def fleet_json(fleet: Fleet) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    return {
        "machines": [
            {"name": one.name, "path": str(one.path), "fragments": one.fragments, **one.sheet}
            for one in fleet.machines
        ],
        "clusters": [
            {
                "machines": [member.name for member in one.machines],
                "typical": one.typical.name,
                "fragmenting": one.fragmenting,
                "medians": {name: one.figures[name] for name in (*RATES, *SHARES)},
                "requesters": one.requesters,
            }
            for one in fleet.clusters
        ],
        "requesters": fleet.requesters,
        "tasks": fleet.tasks,
        "picks": [
            {
                "name": pick.machine.name,
                "stands_for": pick.stands_for,
                "share": pick.share,
                "record": record_line(pick.machine),
            }
            for pick in fleet.picks
        ],
        "refused": fleet.refused,
        "conclusion": fleet_words(fleet),
    }
