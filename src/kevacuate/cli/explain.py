# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate explain``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kevacuate.cli.common import console, open_recording, print_json, progress_bar
from kevacuate.cli.options import PAIR, json_option, policies_option, replay_options
from kevacuate.errors import KevacuateError

if TYPE_CHECKING:
    from kevacuate.policy import Policy
    from kevacuate.recording import Recording
    from kevacuate.report.story import Story
    from kevacuate.report.story_place import Place

_PLACE = re.compile(r"(?:(pfn|block)[:=])?(0[xX][0-9a-fA-F]{1,15}|\d{1,15})")


def parse_place(recording: Recording, text: str) -> Place:
    """The place that ``block:N``, ``pfn:N`` or a bare pfn names; N is decimal or 0x hexadecimal.

    Raises
    ------
    KevacuateError
        It names none, or the machine has no such page.
    """
    from kevacuate.replay.happenings import page_place
    from kevacuate.report.story_place import Place

    match = _PLACE.fullmatch(text)
    if match is None:
        raise KevacuateError(
            f"{text!r} is neither a page nor a pageblock: write a pfn (0x1a2b3 or 107187) or block:209."
        )
    number = int(match[2], 16 if match[2][:2] in ("0x", "0X") else 10)
    order = recording.machine.pageblock_order
    block = match[1] == "block"
    first = number << order if block else number
    node, zone = page_place(recording, first)
    return Place(first >> order, first, first + (1 << order if block else 1), order, zone, node)


@click.command("explain", short_help="The story of one page or pageblock.")
@click.argument("words", nargs=-1, required=True, metavar="[RECORDING] PFN|block:N")
@policies_option(
    "Replay under this policy and tell what happened there",
    f"what the recorded kernel did; for a recording that keeps no events: {', '.join(PAIR)}",
)
@json_option
@replay_options
def command(
    words: tuple[str, ...], policies: tuple[str, ...], as_json: bool, seed: int, despite_losses: bool
) -> None:
    """Tell the story of one page (a pfn) or one pageblock (block:N) of RECORDING (default: the one that ships with the package).

    Example: kevacuate explain block:209 --policy mainline --policy evacuate
    """
    from kevacuate.policy import parse_policy
    from kevacuate.report.story import compared

    if len(words) > 2:
        raise KevacuateError(
            f"One recording and one place, not {len(words)} words: kevacuate explain RECORDING block:209."
        )
    chosen = [parse_policy(spec) for spec in policies]
    source = open_recording(Path(words[0]) if len(words) == 2 else None)
    place = parse_place(source, words[-1])
    stories = _stories(source, place, chosen, seed, despite_losses)
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


def _stories(
    source: Recording, place: Place, chosen: list[Policy], seed: int, despite_losses: bool
) -> list[Story]:
    """The recorded kernel's story, or one for each policy."""
    from kevacuate.policy import parse_policy
    from kevacuate.report.story_sources import recorded_story, replayed_story

    stories: list[Story] = []
    with progress_bar() as progress:
        if not chosen:
            story = recorded_story(source, place, progress=lambda n: progress("events read", n, 0))
            if story:
                return [story]
            chosen = [parse_policy(spec) for spec in PAIR]
        for policy in chosen:
            report = _named(progress, policy.spec)
            stories.append(
                replayed_story(
                    source, place, policy, seed=seed, despite_losses=despite_losses, progress=report
                )
            )
    return stories


def _named(progress: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    """The progress of one replay."""
    return lambda done, total: progress(name, done, total)


def _print(place: Place, stories: list[Story], lines: list[str]) -> None:
    """The stories for people."""
    from kevacuate.report.story_words import seconds

    out = console()
    out.print(place.text, style="bold", markup=False, highlight=False)
    for story in stories:
        title = "On the recorded kernel" if story.source == "recorded" else f"Under {story.source} (a replay)"
        out.print(f"\n{title}", style="bold", markup=False, highlight=False)
        if story.start:
            out.print(f"  at the start       {story.start}", markup=False, highlight=False)
        for step in story.steps:
            cpu = f"CPU {step.cpu}" if step.cpu >= 0 else ""
            out.print(f"{seconds(step.t):>15}  {cpu:<6} {step.text}", markup=False, highlight=False)
        if story.end:
            out.print(f"  at the end         {story.end}", markup=False, highlight=False)
    out.print()
    for line in lines:
        out.print(line, markup=False, highlight=False)
