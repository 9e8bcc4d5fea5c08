# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording, or a replay of it, played back in the same view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.demand.build import build_demand
from kevacuate.kernel.extfrag import STEAL
from kevacuate.live.machine import EVENTS_KEPT
from kevacuate.live.view import SO_FAR, Extfrag, Queued, View
from kevacuate.measure.frames import Frames
from kevacuate.measure.history import History
from kevacuate.mm.fields import LogRecord
from kevacuate.observe.event_records import allocator_records
from kevacuate.observe.maps import recorded_frames
from kevacuate.policy import Policy
from kevacuate.recording import Lost, Recording
from kevacuate.recording.machine import kernel_words
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay

MOMENTS = 200
_NONE = Lost()


class Playback:
    """Views at successive moments, each :meth:`poll` one further.

    Parameters
    ----------
    title, subtitle : str
        As in the views.
    frames : Frames
        The pageblock map over time.
    history : History
        Log records (t in ns, as the frames'): extfrag events, claims, evacuations.
    times : list of int
        The moments, in ns.
    free_orders : callable
        The free chunks by order at the moment of a frame, as in the views.
    lost : Lost
        Events that the recording lost; the views show them from the first moment on.
    """

    playback = True

    def __init__(
        self,
        title: str,
        subtitle: str,
        frames: Frames,
        history: History,
        times: npt.NDArray[np.int64],
        free_orders: Callable[[int], list[tuple[str, list[int]]]],
        lost: Lost = _NONE,
    ) -> None:
        self.title, self.subtitle, self.frames, self.times = title, subtitle, frames, times
        self.free_orders, self.lost = free_orders, lost
        self.at = -1
        order = frames.pageblock_order
        self.events = [
            Extfrag(
                f.t / 1e9, f.cpu, "", f.pfn, f.wanted, f.source, f.order_asked, f.order_taken, f.kind != STEAL
            )
            for f in history.flows()
        ]
        self._event_t = np.array([e.t for e in self.events])
        claims = {(c.t, c.block): c for c in history.claim_attempts() if c.claimed}
        self.queued = []
        for event in self.events:
            if event.queues(order):
                claim = _claim_of(claims, round(event.t * 1e9), event.pfn >> order)
                pages, free = (claim.movable, claim.free) if claim else (-1, -1)
                self.queued.append(Queued(event.t, event.pfn >> order, pages, free, event.wanted))

    def poll(self) -> View:
        """The next moment; the last one again at the end."""
        self.at = min(self.at + 1, len(self.times) - 1)
        return self._view()

    def seek(self, moments: int) -> None:
        """Go to another moment; the next :meth:`poll` shows the one after it."""
        self.at = min(max(self.at + moments, -1), len(self.times) - 2)

    def close(self) -> None:
        """Nothing was taken."""

    def _view(self) -> View:
        now = int(self.times[self.at])
        frame = max(int(np.searchsorted(self.frames.t, now, "right")) - 1, 0)
        seen = self.events[: int(np.searchsorted(self._event_t, now / 1e9, "right"))]
        queued = [one for one in self.queued if one.t <= now / 1e9]
        order = self.frames.pageblock_order
        kinds = Counter(event.kind(order) for event in seen)
        return View(
            title=self.title,
            subtitle=f"{self.subtitle}, map of {self.frames.t[frame] / 1e9:.1f} s",
            t=now / 1e9,
            start=self.frames.start >> self.frames.pageblock_order,
            content=self.frames.at(frame).content,
            free_orders=self.free_orders(frame),
            events=seen[-EVENTS_KEPT:],
            queued=queued,
            counts={
                **{name: kinds[kind] for kind, name in enumerate(SO_FAR)},
                **self.lost.to_json(),
                "pages_to_move": sum(max(one.pages, 0) for one in queued),
            },
            pageblock_order=order,
            ended=self.at == len(self.times) - 1,
        )


def _claim_of(claims: dict[tuple[int, int], Any], t: int, block: int) -> Any:
    """The counts at a claim: the event follows them within a microsecond or two of a recorded kernel."""
    if (t, block) in claims:
        return claims[t, block]
    near = [at for at in claims if at[1] == block and 0 <= t - at[0] < 1_000_000]
    return claims[max(near)] if near else None


def play_replay(
    recording: Recording, policy: Policy, *, progress: Callable[[int, int], None] | None = None
) -> Playback:
    """A replay under *policy*, played back.

    Raises
    ------
    KevacuateError
        The recording cannot be replayed.
    """
    run = replay(
        recording,
        policy,
        options=ReplayOptions(samples=MOMENTS, keep=True),
        demand=build_demand(recording),
        progress=progress,
    )
    assert run.frames is not None
    assert run.history is not None
    chunks: list[dict[str, list[int]]] = run.series["free_chunks"]

    def free(moment: int) -> list[tuple[str, list[int]]]:
        return [("all zones", np.sum(list(chunks[moment].values()), axis=0).tolist())]

    title = f"{recording.path.name}, {kernel_words(recording.machine.kernel)}"
    return Playback(title, f"replayed under {policy.spec}", run.frames, run.history, run.frames.t, free)


def play_recording(recording: Recording, *, progress: Callable[[int], None] | None = None) -> Playback:
    """What was recorded, played back: its states as maps, its events as they came.

    Raises
    ------
    KevacuateError
        It has no state, or cannot be read.
    """
    frames = recorded_frames(recording)
    states = recording.states
    base = states[0].ts
    tables, seen = [np.empty((0, LogRecord.STRIDE), np.int64)], 0
    for chunk in recording.events():
        records = allocator_records(chunk)
        LogRecord.table(records)["time"] -= base
        tables.append(records)
        seen += chunk.rows
        if progress:
            progress(seen)
    history = History.of_log(tables, frames.pageblock_order)

    def free(moment: int) -> list[tuple[str, list[int]]]:
        lists = states[moment].free
        return [("all zones", np.bincount(lists.order, minlength=11).tolist())]

    title = f"{recording.path.name}, {kernel_words(recording.machine.kernel)}"
    last = recording.span[1] - base if recording.span else 0
    times = np.linspace(0, max(last, int(frames.t[-1])), MOMENTS).astype(np.int64)
    return Playback(title, "as recorded", frames, history, times, free, recording.lost)
