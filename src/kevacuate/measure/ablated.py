# SPDX-License-Identifier: GPL-2.0-or-later
"""What each part of a policy buys and costs: variants beside the policy itself, every row of every variant tested.

All variants are replayed with the same seeds as the policy that they vary. Each row is tested by the one test
(:func:`kevacuate.measure.permutation.permutation_p`). The rows that decide, of all variants together, are corrected by Holm's
step-down; so are the rows of what is paid. So chance alone gives a star among either in at most LEVEL of ablations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kevacuate.errors import KevacuateError
from kevacuate.measure.intervals import POWER, holm
from kevacuate.measure.permutation import LEVEL, Direction, mean, spread
from kevacuate.measure.power import least_seen
from kevacuate.measure.tuned import NO_EFFECT, UNCHANGED, Table, TriedRow, tested_rows, verdict_of

ONLY_COSTS, CHEAPER = "no effect, costs more", "no effect, costs less"
"""What is said of a variant, besides what is said of a setting: no row that decides differs, and what is paid does."""

LEAST_REPLAYS = 10
"""Replays of each variant at least: with fewer no p can pass the correction for some 400 rows."""

REPLAYS = 15
"""By default: the fewest runs that maintainers ask for."""


@dataclass(frozen=True)
class AblatedRow(TriedRow):
    """A row of a variant: ``p`` is corrected; ``own_p`` is not; the spreads are standard deviations (n - 1)."""

    base_spread: float
    spread: float
    own_p: float | None


@dataclass(frozen=True)
class Ablated:
    """A variant that was replayed.

    Attributes
    ----------
    name, what, kind : str
        As of :class:`kevacuate.policy.variant.Variant`.
    policy : str
        The policy that it is.
    verdict : str
        Of the whole of it (:func:`ablated_verdict`).
    rows, costs : tuple of AblatedRow
        The rows that decide; what is paid, the policy's own rows with a direction included.
    done : tuple of AblatedRow
        The policy's own rows without a direction, which say what it did: not tested.
    """

    name: str
    what: str
    kind: str
    policy: str
    verdict: str
    rows: tuple[AblatedRow, ...]
    costs: tuple[AblatedRow, ...]
    done: tuple[AblatedRow, ...] = ()

    @property
    def buys(self) -> tuple[AblatedRow, ...]:
        """The rows that are better."""
        return tuple(row for row in (*self.rows, *self.costs) if row.judged == "better")

    @property
    def paid(self) -> tuple[AblatedRow, ...]:
        """The rows that are worse."""
        return tuple(row for row in (*self.rows, *self.costs) if row.judged == "worse")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {name: getattr(self, name) for name in ("name", "what", "kind", "policy", "verdict")}
        kinds = {"rows": self.rows, "costs": self.costs, "done": self.done}
        return plain | {
            kind: [{**vars(row), "change": row.change} for row in rows] for kind, rows in kinds.items()
        }


@dataclass(frozen=True)
class Ablation:
    """What an ablation came to.

    Attributes
    ----------
    recording : dict
        As of a comparison.
    base : str
        The policy whose variants these are, and that they are compared with.
    replays, seed : int
        Replays of each, and the first seed.
    loop : str
        ``open`` or ``closed``.
    variants : tuple of Ablated
        In the policy's order.
    names : dict
        Label and unit of each row, by its id.
    found : dict
        Of each row that decides: the least change that POWER of such ablations would find, as a share of the base's mean; rows
        whose base does not vary, or is 0, are left out.
    """

    recording: dict[str, Any] = field(repr=False)
    base: str
    replays: int
    seed: int
    loop: str
    variants: tuple[Ablated, ...]
    names: dict[str, tuple[str, str]] = field(repr=False)
    found: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "recording": self.recording,
            "base": self.base,
            "replays": self.replays,
            "seed": self.seed,
            "loop": self.loop,
            "level": LEVEL,
            "power": POWER,
            "names": {row: {"label": label, "unit": unit} for row, (label, unit) in self.names.items()},
            "variants": [one.to_json() for one in self.variants],
            "would_have_been_found": self.found,
        }


def ablation_from(document: Mapping[str, Any]) -> Ablation:
    """The ablation that ``kevacuate ablate --json`` wrote.

    Raises
    ------
    KevacuateError
        The document is none.
    """
    try:
        variants = [_ablated_from(one) for one in document["variants"]]
        names = {row: (its["label"], its["unit"]) for row, its in document["names"].items()}
        same = {name: document[name] for name in ("recording", "base", "replays", "seed", "loop")}
        return Ablation(
            **same, variants=tuple(variants), names=names, found=dict(document["would_have_been_found"])
        )
    except (KeyError, TypeError, AttributeError):
        raise KevacuateError(
            "The document is no ablation: make it by kevacuate ablate RECORDING --json."
        ) from None


def _ablated_from(values: Mapping[str, Any]) -> Ablated:
    """A variant as :meth:`Ablated.to_json` wrote it."""
    rows, costs, done = (tuple(_row_from(row) for row in values[kind]) for kind in ("rows", "costs", "done"))
    name, what, kind, policy = (values[key] for key in ("name", "what", "kind", "policy"))
    return Ablated(name, what, kind, policy, values["verdict"], rows, costs, done)


def _row_from(values: Mapping[str, Any]) -> AblatedRow:
    """A row as :meth:`Ablated.to_json` wrote it; its change follows from the means."""
    return AblatedRow(**{name: value for name, value in values.items() if name != "change"})


def judged_rows(
    base: Table, others: Sequence[Table], directions: Mapping[str, Direction]
) -> list[tuple[AblatedRow, ...]]:
    """The rows of every variant, tested and corrected together; *directions* says which way each is better."""
    alone = tested_rows(base, others)
    corrected = holm(alone)
    return [
        tuple(
            _row(row, base[row], own[row], (alone.get((row, i)), corrected.get((row, i))), directions[row])
            for row in base
            if row in own
        )
        for i, own in enumerate(others)
    ]


def told_rows(base: Table, own: Table) -> tuple[AblatedRow, ...]:
    """Rows that are shown and not tested."""
    return tuple(
        _row(row, base[row], own[row], (None, None), Direction.NEITHER) for row in base if row in own
    )


def _row(
    row: str,
    base: Sequence[float],
    own: Sequence[float],
    p: tuple[float | None, float | None],
    direction: Direction,
) -> AblatedRow:
    """A row, judged; *p* alone and corrected."""
    before, after = mean(base), mean(own)
    alone, corrected = p
    judged = direction.judged(after - before) if corrected is not None and corrected <= LEVEL else ""
    return AblatedRow(row, before, after, corrected, judged, spread(base) or 0.0, spread(own) or 0.0, alone)


def ablated_verdict(rows: Sequence[AblatedRow], costs: Sequence[AblatedRow], same: bool) -> str:
    """What is said of a variant; *same*: every figure of every replay is the policy's own."""
    said = UNCHANGED if same else verdict_of(rows, costs)
    paid = {row.judged for row in costs}
    if said != NO_EFFECT or not paid & {"better", "worse"}:
        return said
    return ONLY_COSTS if "worse" in paid else CHEAPER


def least_found(base: Table, tests: int, replays: int) -> dict[str, float]:
    """The change of each row that POWER of ablations would find, as a share of its mean, at the first step of Holm's correction.

    As of a comparison of two such groups at that level (:func:`kevacuate.measure.power.least_seen`).
    """
    level = LEVEL / max(tests, 1)
    found = {row: least_seen(values[:replays], values[:replays], level) for row, values in base.items()}
    return {row: share for row, share in found.items() if share is not None}
