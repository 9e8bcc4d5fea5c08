# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate compare --recorded``: recordings of real kernels side by side."""

from __future__ import annotations

from pathlib import Path

import click

import kevacuate
from kevacuate.cli.common import console, doing, print_json, progress_bar
from kevacuate.errors import KevacuateError

GROUP_MARK = "\0"
"""Stands for ``--`` between groups; no path can contain it."""


class GroupsCommand(click.Command):
    """A command in which, after ``--recorded``, each ``--`` divides groups instead of ending the options.

    click drops the first ``--`` and keeps later ones, so it cannot tell where the first group ended.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the mark where ``--`` stands, before click sees it."""
        before = args[: args.index("--")] if "--" in args else args
        if "--recorded" in before:
            args = [GROUP_MARK if arg == "--" else arg for arg in args]
        return super().parse_args(ctx, args)


def split_groups(arguments: tuple[str, ...]) -> list[list[Path]]:
    """The groups of recordings; without a mark every recording is a group of its own.

    Raises
    ------
    KevacuateError
        Fewer than two recordings, or an empty group.
    """
    if GROUP_MARK not in arguments:
        groups = [[Path(one)] for one in arguments]
    else:
        groups = [[]]
        for one in arguments:
            if one == GROUP_MARK:
                groups.append([])
            else:
                groups[-1].append(Path(one))
    if len(groups) < 2 or not all(groups):
        raise KevacuateError(
            "compare --recorded sets recordings side by side. Give two or more (A B), or groups of repeats with -- between "
            "them (A1 A2 A3 -- B1 B2 B3)."
        )
    return groups


def compare_recorded(
    arguments: tuple[str, ...], *, as_json: bool, details: bool, despite_losses: bool
) -> None:
    """Measure every recording once and print them side by side."""
    from kevacuate.reports.comparison.recorded import conclusion, recorded_json, recorded_table
    from kevacuate.reports.comparison.recorded_rows import group_rows

    groups = split_groups(arguments)
    with progress_bar() as progress:
        measured = kevacuate.compare_recorded(
            groups, despite_losses=despite_losses, progress=doing("reading", progress)
        )
    rows = group_rows(measured)
    if as_json:
        print_json(recorded_json(measured, rows))
        return
    out = console()
    out.print(recorded_table(measured, rows, details=details))
    out.print(str(conclusion(measured, rows)), markup=False, highlight=False)
