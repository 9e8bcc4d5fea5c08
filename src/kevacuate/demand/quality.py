# SPDX-License-Identifier: GPL-2.0-or-later
"""What the reconstruction of a demand counted, class by class."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from kevacuate.errors import KevacuateError
from kevacuate.recording.jsontypes import WrongType, checked

MARKS = 2
"""Rows of one use: folio_mark_accessed activates at the second mark."""


@dataclass(frozen=True)
class DemandQuality:
    """Every event that took part in the reconstruction, counted once in the class that it fell into.

    The field order is the order of the counters inside the compiled reconstruction.
    """

    alloc_events: int = 0
    """``mm_page_alloc`` events after the start state."""
    failed_allocs: int = 0
    """Of these, allocations that failed (pfn -1): no demand but for a closed loop."""
    malformed: int = 0
    """Allocations and frees with an impossible pfn, order or alignment: dropped."""
    bulk_allocs: int = 0
    """Pages handed out by ``alloc_pages_bulk`` (``gt_rmq`` kind 4)."""
    free_events: int = 0
    """``mm_page_free`` events after the start state."""
    free_duplicates: int = 0
    """``mm_page_free_batched`` events: each repeats an ``mm_page_free``, and is ignored."""
    allocs: int = 0
    """Objects born in the demand (ops ALLOC and ALLOC_BULK)."""
    frees: int = 0
    """Objects, whole or split off, freed in the demand (op FREE)."""
    frees_of_start_pages: int = 0
    """Frees of pages in use at the start that no object stands for (op FREE_PFN)."""
    splits: int = 0
    """Halvings of an object, because a part of it was freed (op SPLIT)."""
    partial_frees: int = 0
    """Frees of a part of an object."""
    regrouped: int = 0
    """Objects freed page by page that were regrouped into one free."""
    regrouped_pages: int = 0
    """The free events that became those."""
    regroup_broken: int = 0
    """Page-by-page frees that looked like such a run and stopped before its end: freed page by page."""
    missed_frees: int = 0
    """Allocations over pages still in use: the old owner's pages were freed at that time."""
    covering_frees: int = 0
    """Frees larger than what they covered: everything in use inside was freed."""
    orphan_frees: int = 0
    """Frees of a page not in use (silent allocation, or double free): dropped."""
    moves_exact: int = 0
    """Moves (objects) whose new pfn a ``remove_migration_pte`` event gave."""
    moves_by_destination: int = 0
    """Moves whose new pfn was one of the mover's own ``mm_page_alloc``, paired in order."""
    moves_by_list: int = 0
    """Moves whose new pfn followed from compaction's own free list (recordings with list operations)."""
    moves_by_block: int = 0
    """Moves whose new pfn stayed unknown until a page of the target pageblock was freed."""
    moves_unresolved: int = 0
    """Moved objects that were still without a pfn at the end of the recording."""
    moves_dropped: int = 0
    """Moved objects given up (freed in the demand) because too many were without a pfn."""
    unpaired_sources: int = 0
    """Source pages of an evacuation freed without a destination: freed in the demand."""
    unpaired_destinations: int = 0
    """Destinations of an evacuation that no source took: allocated in the demand."""
    repeated_destinations: int = 0
    """Destinations allocated and freed again by the mover (spec S15): no demand."""
    reclaimed_in_evacuation: int = 0
    """Pages of a block under evacuation freed before any destination was allocated: clean cache, a death."""
    compaction_list_frees: int = 0
    """Frees by compaction of its own free list (spec S9): no demand."""
    anonymous_moves: int = 0
    """Moves of pages in use at the start that no object stands for."""
    peak_objects: int = 0
    """Largest number of objects alive at once, plus ids not yet reused: the size a table needs."""
    events: int = 0
    """Events read after the start state, of the kinds that the reconstruction uses."""
    reclaimers_seen: int = 0
    """Times a task was seen to reclaim: kswapds, and direct reclaims that began."""
    reclaimed: int = 0
    """Of ``frees``, page cache that the recorded kernel's reclaim freed (op RECLAIM)."""
    reclaimed_without_file: int = 0
    """Of those, pages whose file and index no event tells: their next read cannot be recognised."""
    cached: int = 0
    """``mm_filemap_add_to_page_cache`` events: folios added to the page cache."""
    read_again: int = 0
    """Of ``allocs``, page cache that the recorded kernel had reclaimed and read again (their ``aux`` names the former pages)."""
    read_again_otherwise: int = 0
    """Folios added where the recorded kernel had reclaimed pages, and whose request was not found: the former were truncated."""
    read_again_gathered: int = 0
    """Folios added where the recorded kernel had reclaimed several, or part of one (op GATHER)."""
    accesses: int = 0
    """Rows that say that the workload used an object (op ACCESS)."""
    accesses_unknown: int = 0
    """Reads the first page of which no event has named: it was in the page cache before the recording began."""
    truncated: int = 0
    """Rows that give up reclaimed pages (op TRUNCATE): their file was truncated, or they were forgotten."""
    shadows_forgotten: int = 0
    """Reclaimed pages forgotten because as many as the machine has were reclaimed since."""
    peak_shadows: int = 0
    """Numbers of shadows used, the size a table needs."""
    attempts: int = 0
    """Of ``failed_allocs``, those that a closed loop tries (op ATTEMPT)."""
    accesses_inferred: int = 0
    """Of ``accesses``, those that the order of reclaim tells, where no event names files (:mod:`kevacuate.demand.uses`)."""
    file_pages: int = 0
    """Numbers that the pages of the files which are read have, the size a table needs (ops PLACE and READ)."""
    longest_readahead: int = 0
    """Pages of the longest stretch of a file that one read or fault has brought in."""
    reads: int = 0
    """Reads of files and faults that map them (op READ)."""

    @property
    def trusted(self) -> float:
        """Share of allocation and free events that the demand represents without any guess, 0 to 1.

        Guesses are: orphans, missed and covering frees, malformed events, moves paired by rule, unpaired or
        dropped ones. An event is not trusted at most once per guess.
        """
        total = self.alloc_events + self.free_events + self.bulk_allocs
        guesses = (
            self.malformed
            + self.missed_frees
            + self.covering_frees
            + self.orphan_frees
            + self.moves_by_block
            + self.moves_dropped
            + self.unpaired_sources
            + self.unpaired_destinations
        )
        return max(0.0, 1.0 - guesses / total) if total else 1.0

    def as_dict(self) -> dict[str, Any]:
        """All counters and ``trusted``, for JSON."""
        return {**asdict(self), "trusted": self.trusted}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DemandQuality:
        """The inverse of :meth:`as_dict`; unknown names are an error, missing ones are 0."""
        names = {f.name for f in fields(cls)}
        try:
            checked({name: values[name] for name in names & set(values)}, dict[str, int], "quality")
        except WrongType as error:
            raise KevacuateError(
                f"The demand's quality report is not what this program writes: {error}."
            ) from None
        unknown = set(values) - names - {"trusted"}
        if unknown:
            raise KevacuateError(
                f"the demand's quality report has unknown counters ({', '.join(sorted(unknown))}): "
                "it was written by a newer version; upgrade kevacuate"
            )
        return cls(**{name: int(values.get(name, 0)) for name in names})

    @classmethod
    def from_counters(cls, counters: npt.NDArray[np.int64]) -> DemandQuality:
        """From the compiled reconstruction's counters, in field order."""
        return cls(*(int(value) for value in counters[: len(fields(cls))]))


COUNTERS: tuple[str, ...] = tuple(f.name for f in fields(DemandQuality))
"""Names of the counters; the index of a name is its place in the compiled reconstruction."""
