# SPDX-License-Identifier: GPL-2.0-or-later
"""A policy and its variants on one demand: what each of its parts buys and costs (:mod:`kevacuate.measure.ablated`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kevacuate.errors import KevacuateError, whole_number
from kevacuate.measure import Run, ablated
from kevacuate.measure.ablated import Ablated, Ablation
from kevacuate.measure.deciding import COSTS, DECIDING, values_of
from kevacuate.measure.permutation import Direction
from kevacuate.measure.rows import Row, own_rows
from kevacuate.measure.tuned import Table
from kevacuate.policy import PATCHED, Policy, parse_policy
from kevacuate.policy.ablation import ablation_of
from kevacuate.policy.variant import Variant
from kevacuate.runs.compare import Report
from kevacuate.runs.options import ReplayOptions, given_options
from kevacuate.runs.trust import about_result
from kevacuate.runs.tune import Bench, demand_to_try
from kevacuate.workload.opening import Replayable


def ablate(
    recording: Replayable,
    policy: str | Policy = PATCHED,
    variants: Sequence[str] | None = None,
    *,
    repeats: int = ablated.REPLAYS,
    seed: int | None = None,
    workers: int | None = None,
    options: ReplayOptions = ReplayOptions(),  # noqa: B008 (frozen)
    progress: Report | None = None,
) -> Ablation:
    """Replay a policy and its variants on a recording's demand: what each of its parts buys, and what it costs.

    Parameters
    ----------
    recording : Recording or path
        With a start state and a demand, or events to make one of.
    policy : str or Policy
        The policy whose variants these are; what knobs it has, the variants have too.
    variants : sequence of str, optional
        ``KNOB=VALUE[,KNOB=VALUE...]`` each. Default: those that the policy declares, and what it is added to.
    repeats : int
        Replays of each, at least 10.
    seed : int, optional
        In place of ``options.seed``: the first seed.
    workers : int, optional
        As of :func:`kevacuate.compare`.
    options : ReplayOptions
        As of :func:`kevacuate.compare`.
    progress : callable, optional
        Called with (what is done, rows done, rows in all), from whichever thread.

    Returns
    -------
    Ablation
        Every variant with its verdict, and every row with means, spreads and p.

    Raises
    ------
    KevacuateError
        As :func:`kevacuate.compare`; or the policy declares no variant, or one that was given changes nothing.

    Examples
    --------
    >>> import kevacuate
    >>> result = kevacuate.ablate("my-server.kev", "evacuate", ["skip-hint=ignore"], repeats=10)
    >>> [one.policy for one in result.variants]
    ['evacuate,skip-hint=ignore']
    """
    base = policy if isinstance(policy, Policy) else parse_policy(policy)
    wrong = isinstance(variants, str) or not (variants is None or isinstance(variants, Sequence))
    if wrong or any(not isinstance(one, str) for one in variants or ()):
        raise KevacuateError(f"variants cannot be {variants!r}: give a list of KNOB=VALUE[,KNOB=VALUE...].")
    chosen = ablation_of(base, variants or None)
    repeats = whole_number("repeats", repeats, ablated.LEAST_REPLAYS)
    workers = None if workers is None else whole_number("workers", workers, 1)
    options = given_options(options, seed)
    source, demand = demand_to_try(recording, options)
    bench = Bench(source, demand, options, workers, progress)
    groups = bench.runs([base, *(own for _, own in chosen)], 0, repeats, "replaying the variants")
    own = {row.id: row for row in (*base.kind.rows, *own_rows(run for group in groups for run in group))}
    return Ablation(
        recording=about_result(source, demand),
        base=base.spec,
        replays=repeats,
        seed=options.seed,
        loop=groups[0][0].provenance["loop"]["ran"],
        variants=tuple(judged_variants(own, chosen, groups)),
        names={row_id: (row.label, row.unit) for row_id, row in {**DECIDING, **COSTS, **own}.items()},
        found=ablated.least_found(values_of(DECIDING, groups[0]), len(DECIDING) * len(chosen), repeats),
    )


def _tables(rows: Mapping[str, Row], groups: Sequence[Sequence[Run]]) -> list[Table]:
    """Of every group of runs the values of these rows."""
    return [values_of(rows, group) for group in groups]


def _directions(rows: Mapping[str, Row]) -> dict[str, Direction]:
    """Which way each row is better."""
    return {row_id: row.direction for row_id, row in rows.items()}


def judged_variants(
    own: Mapping[str, Row], chosen: Sequence[tuple[Variant, Policy]], groups: Sequence[Sequence[Run]]
) -> list[Ablated]:
    """The variants with their rows and verdicts.

    The first of *groups* are the runs of the policy that they vary; *own* are rows that this policy adds to the table.
    """
    paid = {**COSTS, **{row_id: row for row_id, row in own.items() if row.direction is not Direction.NEITHER}}
    did = {row_id: row for row_id, row in own.items() if row_id not in paid}
    decide, costs, done = (_tables(rows, groups) for rows in (DECIDING, paid, did))
    rows = ablated.judged_rows(decide[0], decide[1:], _directions(DECIDING))
    prices = ablated.judged_rows(costs[0], costs[1:], _directions(paid))
    return [
        Ablated(
            name=variant.name,
            what=variant.what,
            kind=variant.kind,
            policy=policy.spec,
            verdict=ablated.ablated_verdict(
                rows[i], prices[i], all(table[0] == table[1 + i] for table in (decide, costs, done))
            ),
            rows=rows[i],
            costs=prices[i],
            done=ablated.told_rows(done[0], done[1 + i]),
        )
        for i, (variant, policy) in enumerate(chosen)
    ]
