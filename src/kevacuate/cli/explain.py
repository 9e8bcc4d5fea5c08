# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import kevacuate
from kevacuate.cli.common import console, open_recording, print_json, progress_bar
from kevacuate.cli.options import json_option, policies_option, refuse_empty, replay_options
from kevacuate.errors import KevacuateError
from kevacuate.policy import PAIR

if TYPE_CHECKING:
    from kevacuate.reports.story.place import Place


@click.command("explain", short_help="The story of one page or pageblock.")
@click.argument("words", nargs=-1, required=True, metavar="[RECORDING] PFN|block:N", callback=refuse_empty)
@policies_option(
    "Replay under this policy and tell what happened there",
    f"what the recorded kernel did; for a recording that keeps no events: {', '.join(PAIR)}",
)
@json_option
@replay_options
def command(
    words: tuple[str, ...],
    policies: tuple[str, ...],
    as_json: bool,
    seed: int,
    loop: str,
    despite_losses: bool,
) -> None:
    """Tell the story of one page (a pfn) or one pageblock (block:N) of RECORDING (default: the one that ships with the package).

    Example: kevacuate explain block:209 --policy mainline --policy evacuate
    """
    from kevacuate.reports.story.explain import parse_place
    from kevacuate.reports.story.story import compared

    if len(words) > 2:
        raise KevacuateError(
            f"One recording and one place, not {len(words)} words: kevacuate explain RECORDING block:209."
        )
    chosen = [kevacuate.parse_policy(spec) for spec in policies]
    source = open_recording(Path(words[0]) if len(words) == 2 else None)
    place = parse_place(source, words[-1])
    with progress_bar() as progress:
        stories = kevacuate.explain(
            source, place, chosen, seed=seed, loop=loop, despite_losses=despite_losses, progress=progress
        )
    lines = compared(stories)
    if not as_json:
        _print(place, stories, lines)
        return
    about = {"block": place.block, "first_pfn": place.first, "last_pfn": place.last - 1, "text": place.text}
    print_json(
        {
            "recording": {"name": source.path.name, "digest": source.digest},
            "place": about,
            "stories": [story.as_dict() for story in stories],
            "conclusion": lines,
        }
    )


def _print(place: Place, stories: list[kevacuate.Story], lines: list[str]) -> None:
    """The stories for people."""
    from kevacuate.reports.story.words import seconds

    out = console()
    out.print(place.text, style="bold", markup=False, highlight=False)
    for story in stories:
        title = "On the recorded kernel" if story.source == "recorded" else f"Under {story.source} (a replay)"
        out.print(f"\n{title}", style="bold", markup=False, highlight=False)
        if story.start:
            out.print(f"  at the start       {story.start}", markup=False, highlight=False)
        for state in story.unmovable:
            out.print(f"  cannot move        {state.text}", markup=False, highlight=False)
        for step in story.steps:
            cpu = f"CPU {step.cpu}" if step.cpu >= 0 else ""
            out.print(f"{seconds(step.t):>15}  {cpu:<6} {step.text}", markup=False, highlight=False)
        if story.end:
            out.print(f"  at the end         {story.end}", markup=False, highlight=False)
    out.print()
    for line in lines:
        out.print(line, markup=False, highlight=False)
