# SPDX-License-Identifier: GPL-2.0-or-later
"""``kevacuate.explain``: the story of one page or pageblock, recorded or under policies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from kevacuate.errors import KevacuateError
from kevacuate.observe.event_records import page_place
from kevacuate.policy import PAIR, Policy, parse_policies
from kevacuate.recording import Recording
from kevacuate.reports.story.place import Place
from kevacuate.reports.story.sources import recorded_story, replayed_story
from kevacuate.reports.story.story import Story

_PLACE = re.compile(r"(?:(pfn|block)[:=])?(0[xX][0-9a-fA-F]{1,15}|[0-9]{1,15})")


def parse_place(recording: Recording, text: str) -> Place:
    """The place that ``block:N``, ``pfn:N`` or a bare pfn names; N is decimal or 0x hexadecimal.

    Raises
    ------
    KevacuateError
        It names none, or the machine has no such page.
    """
    match = _PLACE.fullmatch(str(text))
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


def explain(
    recording: Recording | str | Path,
    place: str | Place,
    policies: str | Policy | Sequence[str | Policy] = (),
    *,
    seed: int = 0,
    loop: str = "auto",
    despite_losses: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Story]:
    """Tell the story of one page or pageblock.

    Parameters
    ----------
    recording : Recording or path
        What to read.
    place : str or Place
        ``block:N``, ``pfn:N`` or a bare pfn.
    policies : policy or sequence of policies
        Replay under these. Without: the recorded kernel's story, or, where the recording keeps no events, that of replays.
    loop : str
        As of :class:`kevacuate.ReplayOptions`.
    seed : int
        As of :class:`kevacuate.ReplayOptions`.
    despite_losses : bool
        Replay a recording that lost events.
    progress : callable, optional
        Called with (what is read or replayed, rows done, rows in all).

    Returns
    -------
    list of Story
        The recorded kernel's, or one for each policy. ``steps`` has a time (ns since the start), a CPU (-1: none) and a sentence
        each; ``start`` and ``end`` are sentences.

    Raises
    ------
    KevacuateError
        There is no such place or policy, or the recording cannot be read or replayed.

    Examples
    --------
    >>> import kevacuate
    >>> (story,) = kevacuate.explain("my-server.kev", "block:2", "mainline")
    >>> story.source
    'mainline'
    """
    chosen = parse_policies(policies)
    source = Recording.of(recording)
    where = place if isinstance(place, Place) else parse_place(source, place)
    told = progress or (lambda name, done, total: None)
    if not chosen:
        story = recorded_story(source, where, progress=lambda done: told("reading events", done, 0))
        if story:
            return [story]
    return [
        replayed_story(
            source,
            where,
            policy,
            seed=seed,
            loop=loop,
            despite_losses=despite_losses,
            progress=partial(told, f"replaying {policy.spec}"),
        )
        for policy in chosen or parse_policies(PAIR)
    ]
