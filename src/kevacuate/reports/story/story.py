# SPDX-License-Identifier: GPL-2.0-or-later
"""The story of one page or one pageblock: from records of what happened to steps in plain words.

Pure: takes the records (of a replay's log and notes, or of a recording's events) and returns the steps. What is told step by step
is what concerns the block as a whole; the traffic of single pages in between is summed up, unless the story is a page's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.kernel.migratetypes import name as type_name
from kevacuate.measure.holders import Holder
from kevacuate.mm import constants as k
from kevacuate.mm.fields import LogRecord
from kevacuate.observe.event_records import NOTE_COMPACT_FROM
from kevacuate.reports.story.place import Place
from kevacuate.reports.story.traffic import KINDS, Traffic
from kevacuate.reports.story.words import Happening, Teller, duration, plural, seconds
from kevacuate.runs.noting import NOTE_START


@dataclass(frozen=True)
class Step:
    """One step: time (ns since the start), CPU (-1: several), a short kind for programs, the sentence, its figures."""

    t: int
    cpu: int
    kind: str
    text: str
    facts: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"t_ns": self.t, "cpu": self.cpu, "kind": self.kind, "text": self.text, "facts": self.facts}


@dataclass(frozen=True)
class Unmovable:
    """What pages of the place cannot move in a recorded state, by its page flags: time (ns since the start), the state."""

    t: int
    state: str
    holders: tuple[tuple[Holder, int], ...]
    """With their pages, most first; empty where every page in use can move."""

    @property
    def text(self) -> str:
        """In words."""
        what = ", ".join(f"{n:,} {holder.kind}" for holder, n in self.holders) or "no page"
        return f"{what} (state {self.state}, {seconds(self.t)})"

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        rows = [{"kind": holder.kind, "name": holder.name, "pages": n} for holder, n in self.holders]
        return {"t_ns": self.t, "state": self.state, "holders": rows}


@dataclass(frozen=True)
class Story:
    """The whole story under one policy, or on the recorded kernel.

    ``source`` is the policy, or ``recorded``. ``contents`` is what the block held at each sample of a replay: (t, migratetype,
    pages free, pcp, movable, unmovable, reserved); empty for a recording. ``unmovable`` has the recorded states with
    page flags, for a replay the start state alone.
    """

    place: Place
    source: str
    start: str
    steps: tuple[Step, ...]
    summary: str
    contents: tuple[tuple[int, ...], ...] = ()
    unmovable: tuple[Unmovable, ...] = ()

    @property
    def end(self) -> str:
        """What the block holds at the end, in words; empty where that is not known."""
        return contents_text(self.contents[-1]) if self.contents else ""

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        names = ("t_ns", "type", "free", "pcp", "movable", "unmovable", "reserved")
        rows = [dict(zip(names, row, strict=True)) for row in self.contents]
        return {
            "source": self.source,
            "start": self.start,
            "steps": [step.as_dict() for step in self.steps],
            "end": self.end,
            "summary": self.summary,
            "contents": [{**row, "type": type_name(row["type"])} for row in rows],
            "unmovable": [state.as_dict() for state in self.unmovable],
        }


def contents_text(row: tuple[int, ...]) -> str:
    """A sample of a block's contents in words."""
    _, mt, free, pcp, movable, unmovable, reserved = row
    parts = [
        (free, "free"),
        (pcp, "on per-CPU lists"),
        (movable, "movable"),
        (unmovable, "in use that cannot move"),
        (reserved, "reserved"),
    ]
    pages = ", ".join(f"{n:,} {what}" for n, what in parts if n)
    return f"type {type_name(mt)}; pages: {pages}"


def _concerns(record: list[int], place: Place) -> bool:
    """Whether a record of the log is about the place's block (or, for kinds without a pfn, may be)."""
    if record[1] == k.L_IRQ_WORK:
        return True
    return record[3] >= 0 and record[3] >> place.pageblock_order == place.block


def _covers(record: list[int], place: Place) -> bool:
    """Whether a record about pages covers one of the place's pages; its column a is the order (for extfrag, the one asked)."""
    return record[3] < place.last and record[3] + (1 << record[4]) > place.first


def happenings(records: npt.NDArray[np.int64], place: Place) -> list[Happening]:
    """The records that belong in the story."""
    if len(records) > MANY:
        records = records[_near(records, place)]
    out = []
    for record in records.tolist():
        about_pages = record[1] in KINDS
        if _covers(record, place) if about_pages else (record[1] >= 80 or _concerns(record, place)):
            out.append(Happening(*record))
    return out


MANY = 200
"""Records of which those of the place are looked for as arrays first."""


def _near(records: npt.NDArray[np.int64], place: Place) -> npt.NDArray[np.bool_]:
    """Which records may belong in the story: all that do, and a few more."""
    first, last = place.block << place.pageblock_order, (place.block + 1) << place.pageblock_order
    fields = LogRecord.table(records)
    kind, pfn = fields["kind"], fields["pfn"]
    size = np.int64(1) << np.clip(fields["a"], 0, 20) * np.isin(kind, list(KINDS))
    near: npt.NDArray[np.bool_] = (
        ((pfn < last) & (pfn + size > first)) | (kind == k.L_IRQ_WORK) | (kind >= NOTE_COMPACT_FROM)
    )
    return near


_OF_EVACUATION = (k.L_EVAC_ISOLATE, k.L_EVAC_RECLAIM, k.L_EVAC_MIGRATE, k.L_EVAC_PUTBACK)


def _matters(one: Happening, place: Place) -> bool:
    """Whether a record that is about the block matters to a page of it."""
    if one.kind == k.L_EVAC_ISOLATE:
        return one.c <= place.first - (place.block << place.pageblock_order) < one.d
    if one.kind == k.L_EVAC_CLAIM:
        return one.d != 0
    return one.kind not in (k.L_EVAC_RECLAIM, k.L_EVAC_MIGRATE, k.L_EVAC_PUTBACK, k.L_IRQ_WORK)


def tell(
    records: npt.NDArray[np.int64],
    place: Place,
    source: str,
    *,
    start: str = "",
    contents: list[tuple[int, ...]] | None = None,
    traffic: bool = True,
) -> Story:
    """Tell the story of *place* from records in order of time.

    Parameters
    ----------
    records : int64[n, 8]
        t (ns), kind, cpu, pfn, a, b, c, d: kinds of the model's log (docs/model.md) and NOTE_* of
        :mod:`kevacuate.runs.noting` and :mod:`kevacuate.observe.event_records`.
    place : Place
        The page or pageblock.
    source : str
        The policy, or ``recorded``.
    start : str
        What is known of the place before the first record.
    contents : list of tuples, optional
        :attr:`kevacuate.runs.noting.NotingReplay.contents`.
    traffic : bool
        The records tell of the requests and frees of single pages, so that what they do not tell of did not happen.
    """
    steps, movable, other = _walk(happenings(records, place), place, Teller(source == "recorded", place))
    if movable or other:
        known = f"in use at the start: {movable} movable, {other} other pages"
        start = f"{start}; {known}" if start else known
    told, summary = tuple(_folded(steps)), _summary(steps, place, traffic)
    return Story(place, source, start, told, summary, tuple(contents or ()))


def _walk(records: list[Happening], place: Place, teller: Teller) -> tuple[list[Step], int, int]:
    """The steps, and how many movable and other pages of a block were in use at the start."""
    traffic, in_use = Traffic(), [0, 0]
    steps: list[Step] = []

    def close(meanwhile: bool = False) -> None:
        """End the sum of traffic so far."""
        if traffic.any:
            text = traffic.text(meanwhile=meanwhile)
            steps.append(Step(traffic.since, -1, "traffic", text, traffic.facts()))
            traffic.clear()

    for one in records:
        if one.kind == NOTE_START and not place.is_page:
            in_use[one.d >= 0] += 1 << one.a
            teller.account(one)
            continue
        claim = one.kind == k.L_EXTFRAG and one.d
        if one.kind in KINDS and not place.is_page and not claim:
            traffic.add(one)
            teller.account(one)
            continue
        under_way = teller.started_at is not None
        told = teller.tell(one)
        if told is None or (place.is_page and not _matters(one, place)):
            continue
        if not (under_way and one.kind in _OF_EVACUATION):
            close(under_way)
        steps.append(Step(one.t, one.cpu, *told))
    close()
    return steps, in_use[1], in_use[0]


def _folded(steps: list[Step]) -> list[Step]:
    """Refused claims that follow each other become one step."""
    out: list[Step] = []
    for step in steps:
        last = out[-1] if out else None
        if last is not None and step.kind == last.kind == "claim refused":
            times = last.facts.get("times", 1) + 1
            text = f"{last.text.split(' (refused')[0]} (refused {times} times up to {seconds(step.t)})"
            out[-1] = Step(last.t, last.cpu, last.kind, text, {**last.facts, "times": times})
        else:
            out.append(step)
    return out


def _page_summary(steps: list[Step]) -> str:
    """How often a page changed hands."""
    got = sum(s.kind == "allocated" for s in steps)
    moved = sum(s.kind == "moved out" for s in steps)
    dropped = sum(s.kind == "dropped" for s in steps)
    parts = [f"allocated {plural(got, 'time')}"]
    parts += [f"its content was moved away {plural(moved, 'time')}"] if moved else []
    parts += [f"dropped as clean page cache {plural(dropped, 'time')}"] if dropped else []
    return "The page was " + ", ".join(parts) + "."


def _summary(steps: list[Step], place: Place, traffic: bool) -> str:
    """The story in a sentence or two."""
    if not steps:
        return "Nothing happened to it."
    if place.is_page:
        return _page_summary(steps)
    count = {kind: sum(s.kind == kind for s in steps) for kind in ("queued", "started")}
    claims = [s for s in steps if s.kind == "claimed"]
    if not claims:
        return "Nobody claimed the block."
    words = ", ".join(dict.fromkeys(f"for {s.facts['for']}" for s in claims))
    text = f"Claimed {plural(len(claims), 'time')} ({words})"
    finished = [s for s in steps if s.kind == "finished"]
    if not count["queued"]:
        return text + "; no evacuation was queued."
    text += f"; {plural(count['queued'], 'evacuation')} queued, {count['started']} started"
    for s in finished:
        f = s.facts
        text += f"; {f['isolated']} isolated, {f['dropped']} dropped, {f['migrated']} migrated, {f['failed']} failed ({f['why']})"
    if finished and traffic:
        text += _since(steps, finished[-1])
    return text + "."


def _since(steps: list[Step], finished: Step) -> str:
    """What came into the block after its last evacuation."""
    after = [s.facts for s in steps if s.kind == "traffic" and s.t >= finished.t]
    came = {
        name: sum(f["allocated"].get(name, 0) for f in after)
        for name in ("movable", "unmovable", "reclaimable")
    }
    came["movable"] += sum(f["moved_in"] for f in after)
    words = ", ".join(f"{n:,} {name}" for name, n in came.items() if n)
    return f"; since then {words or 'no'} pages came in"


def compared(stories: list[Story]) -> list[str]:
    """What became of the same place under each policy: one line a story."""
    lines = []
    for story in stories:
        end = f" At the end: {story.end}." if story.end and not story.place.is_page else ""
        lines.append(f"{story.source}: {story.summary}{end}")
    return lines + between(stories)


def between(stories: list[Story]) -> list[str]:
    """What else can be said of one pageblock's stories under several policies."""
    if any(story.place.is_page for story in stories):
        return []
    claimed = [next((s.t for s in story.steps if s.kind == "claimed"), None) for story in stories]
    times = [t for t in claimed if t is not None]
    if len(stories) > 1 and times and len(times) < len(stories):
        return ["Under the other policy the block was never claimed: the requests went elsewhere."]
    if len(times) > 1 and max(times) - min(times) > 0:
        return [f"Its first claim came {duration(max(times) - min(times))} apart under the two."]
    return []
