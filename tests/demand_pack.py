# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording reduced to what a replay needs: machine, start state and demand, without the events.

The shipped one was made so.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from kevacuate.demand.build import Demand, build_demand
from kevacuate.demand.pagekinds import PageKindModel
from kevacuate.errors import KevacuateError
from kevacuate.recording import Recording
from kevacuate.recording.demand import write_demand
from kevacuate.recording.kev import KevWriter


def store_demand(recording: Recording, out: str | Path, *, kinds: PageKindModel = PageKindModel()) -> Demand:  # noqa: B008
    """Reconstruct the recording's demand and store it in the directory *out*; returns the demand.

    Raises
    ------
    KevacuateError
        The recording has no start state, or *out* cannot be written.

    """
    demand = build_demand(recording, kinds=kinds)
    spans = demand.spans
    facts = {
        "quality": demand.quality.as_dict(),
        "page_kinds": asdict(kinds),
        "recording": recording.path.name,
        "recording_digest": recording.digest,
        "open_span": list(spans.open),
    }
    write_demand(out, demand.chunks(closed=True), demand.start_objects, facts)
    return demand


def pack(recording: Recording, out: str | Path, *, kinds: PageKindModel = PageKindModel()) -> Path:  # noqa: B008
    """Write the ``.kev`` directory *out*: machine, start state, demand and its quality, no events.

    The start state keeps its free lists and page flags; its place in the events is forgotten (ordinal -1).

    Raises
    ------
    KevacuateError
        The recording has no start state, or *out* exists or cannot be written.

    """
    where, state = Path(out), recording.start
    if state is None:
        raise KevacuateError(
            f"{recording.path} holds no state of the allocator to start from: it cannot be packed."
        )
    with KevWriter(where, recording.machine) as writer:
        writer.add_state(replace(state, ordinal=-1, page_count=None))
        writer.set_losses(recording.losses)
        writer.set_quality({"source": recording.path.name, "source_digest": recording.digest})
    store_demand(recording, writer.path, kinds=kinds)
    return writer.path
