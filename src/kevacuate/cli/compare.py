# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kevacuate.cli.common import console, open_recording, print_json, progress_bar, writable
from kevacuate.cli.options import policies_help, policies_option, repeats_of, repeats_option, result_options
from kevacuate.cli.recorded import GroupsCommand, compare_recorded

if TYPE_CHECKING:
    from kevacuate.measure import Comparison

DEFAULT_POLICIES = ("mainline", "evacuate", "evacuate,skip-hint=ignore")


@click.command(
    "compare",
    cls=GroupsCommand,
    epilog=policies_help(),
    short_help="Replay under several policies, or set recordings side by side.",
)
@click.argument("recordings", metavar="[RECORDING]...", nargs=-1)
@click.option(
    "--recorded",
    is_flag=True,
    help="No replay: set recordings of real kernels side by side, A B ... or groups of repeats A1 A2 -- B1 B2 ...",
)
@policies_option("NAME[,knob=value...]; the first is what the others are compared with", DEFAULT_POLICIES)
@repeats_option
@click.option(
    "--details",
    is_flag=True,
    help="With --recorded: all rows, free chunks by order too, and every recording's value.",
)
@result_options
def command(
    recordings: tuple[str, ...],
    recorded: bool,
    policies: tuple[str, ...],
    repeats: int | None,
    details: bool,
    as_json: bool,
    series: bool,
    seed: int,
    despite_losses: bool,
    save: Path | None,
) -> None:
    """Replay RECORDING (default: the one that ships with the package) under several policies, side by side.

    Each policy is replayed several times with different seeds. Shown are mean, spread and difference, and whether so many replays
    can tell it from chance.

    With --recorded: two or more recordings of real kernels side by side, counted from their events and snapshots without a
    model. Repeats are groups, with -- between them.

    Example: kevacuate compare --policy mainline --policy evacuate,skip-hint=ignore

    Example: kevacuate compare --recorded stock1.kev stock2.kev stock3.kev -- patched1.kev patched2.kev patched3.kev
    """
    if recorded:
        if policies or series or save or repeats:
            raise click.UsageError(
                "--recorded replays nothing, so it takes neither --policy nor --repeats nor --series nor --save."
            )
        compare_recorded(recordings, as_json=as_json, details=details, despite_losses=despite_losses)
        return
    if len(recordings) > 1:
        raise click.UsageError(
            f"compare replays one recording, and {len(recordings)} were given; to set recordings side by side use --recorded."
        )
    result = _replays(
        Path(recordings[0]) if recordings else None,
        policies or DEFAULT_POLICIES,
        repeats_of(repeats),
        {"seed": seed, "despite_losses": despite_losses},
        save,
    )
    from kevacuate.report.tables import comparison_table
    from kevacuate.report.words import comparison_json, conclusion

    if as_json:
        print_json(comparison_json(result, series=series))
        return
    out = console()
    out.print(comparison_table(result))
    out.print(str(conclusion(result)), markup=False, highlight=False)


def _replays(
    path: Path | None, policies: Sequence[str], repeats: int, given: dict[str, Any], save: Path | None
) -> Comparison:
    """Replay the recording at *path* (None: the one that ships) under the policies, and save the comparison where asked to."""
    from kevacuate.measure.saved import save_comparison
    from kevacuate.policy import parse_policy
    from kevacuate.replay.ahead import claims_facts, nothing_words, refuse_without_demand
    from kevacuate.replay.compare import compare
    from kevacuate.replay.initial import ReplayOptions

    writable(save)
    for spec in policies:
        parse_policy(spec)
    source = open_recording(path)
    refuse_without_demand(source)
    known = nothing_words(claims_facts(source))
    if known:
        console(stderr=True).print(known, markup=False, highlight=False)
    options = ReplayOptions(keep=save is not None, **given)
    with progress_bar() as progress:
        result = compare(source, policies, repeats=repeats, options=options, progress=progress)
        if save:
            save_comparison(save, result)
    return result
