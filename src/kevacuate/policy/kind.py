# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy says of itself: its name, its knobs, its counters and the rows that it adds to a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kevacuate.measure.rows import Row
from kevacuate.mm.layout import RegionConfig
from kevacuate.policy.knobs import Knob
from kevacuate.policy.load import HooksFile
from kevacuate.policy.variant import Variant


@dataclass(frozen=True)
class PolicyKind:
    """A policy before its knobs are turned.

    Attributes
    ----------
    name : str
        As users write it.
    what : str
        What it is, in a few words.
    knobs : mapping of str to Knob
        What may be turned.
    evacuates : bool
        Whether the evacuation patch is in.
    counters : tuple of str
        Counters of a run (:func:`kevacuate.measure.metrics.run_metrics`) that only this policy moves.
    rows : tuple of Row
        The rows that it adds to a comparison.
    ablation : tuple of Variant
        Its variants, in the order in which they are told.
    hooks : HooksFile or None
        The class of hooks that it is; None where it is built into the model.
    regions : RegionConfig
        What it does by regions, and which are kept, where no knob says otherwise.
    """

    name: str
    what: str
    knobs: Mapping[str, Knob]
    evacuates: bool = False
    counters: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    ablation: tuple[Variant, ...] = ()
    hooks: HooksFile | None = None
    regions: RegionConfig = RegionConfig()  # noqa: RUF009 (frozen)
