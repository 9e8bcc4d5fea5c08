# SPDX-License-Identifier: GPL-2.0-or-later
"""``ablate`` on recordings: every variant beside the policy, reproducible, with the figures of single replays."""

from __future__ import annotations

from pathlib import Path

import pytest

from kevacuate import Recording
from kevacuate.errors import KevacuateError
from kevacuate.measure.ablated import Ablation
from kevacuate.measure.deciding import COSTS, DECIDING, values_of
from kevacuate.measure.permutation import mean
from kevacuate.measure.tuned import UNCHANGED
from kevacuate.policy import parse_policy
from kevacuate.runs.ablate import ablate
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import replay

VARIANTS = ["pool=0", "skip-hint=ignore", "pool=1000"]
OWN = '''
from kevacuate.policy.api import Hooks, counter, knob


class Counts(Hooks):
    """Counts steals."""

    step = knob(1, "what a steal counts", most=10)
    steals = counter("steals, weighed", "steals", better="lower")
    ablation = [("twice", "step=2", "every steal counts twice"), ("not at all", "step=0", "no steal counts")]

    def page_stolen(self, s, z, pfn, order, start_type, block_type):
        self.steals += self.step
'''


@pytest.fixture(scope="module")
def ablation(synthetic_kev: Path) -> Ablation:
    return ablate(synthetic_kev, "evacuate", VARIANTS, repeats=10)


def test_equal_inputs_give_equal_outputs(synthetic_kev: Path, ablation: Ablation) -> None:
    again = ablate(Recording.open(synthetic_kev), "evacuate", VARIANTS, repeats=10, workers=1)
    assert again == ablation
    assert (ablation.base, ablation.replays, ablation.seed) == ("evacuate", 10, 0)
    assert [one.policy for one in ablation.variants] == [f"evacuate,{knobs}" for knobs in VARIANTS]


def test_the_figures_are_those_of_replays(synthetic_kev: Path, ablation: Ablation) -> None:
    options = [ReplayOptions(seed=seed, samples=1) for seed in range(10)]
    runs = [replay(synthetic_kev, "evacuate,pool=0", options=how) for how in options]
    known = values_of({**DECIDING, **COSTS}, runs)
    rows = {row.id: row for row in (*ablation.variants[0].rows, *ablation.variants[0].costs)}
    for row_id, values in known.items():
        assert rows[row_id].mean == mean(values), row_id
    own = {row.id for row in parse_policy("evacuate").kind.rows}
    told = {row.id for kind in ("costs", "done") for row in getattr(ablation.variants[0], kind)}
    assert own <= told | set(COSTS)


def test_what_queues_nothing_costs_nothing(ablation: Ablation) -> None:
    nothing, _, larger = ablation.variants
    done = {row.id: row for row in nothing.done}
    assert done["evacuations.queued"].mean == 0 < done["evacuations.queued"].base
    costs = {row.id: row for row in nothing.costs}
    assert (costs["cost.worker_ms"].mean, costs["cost.worker_ms"].judged) == (0, "better")
    assert larger.verdict == UNCHANGED, "the pool is large enough as it is"


def test_every_row_has_a_name(ablation: Ablation) -> None:
    for one in ablation.variants:
        assert {row.id for row in (*one.rows, *one.costs, *one.done)} <= set(ablation.names)


def test_a_policy_in_a_file_is_taken_apart_with_its_counters(synthetic_kev: Path, tmp_path: Path) -> None:
    path = tmp_path / "counts.py"
    path.write_text(OWN)
    found = ablate(synthetic_kev, f"{path}:Counts", repeats=10)
    assert [one.name for one in found.variants] == ["without it", "twice", "not at all"]
    rows = [{row.id: row for row in one.costs}["policy.steals"] for one in found.variants]
    base = rows[0].base
    assert base > 0
    assert [row.mean for row in rows] == [0, 2 * base, 0]
    assert [row.judged for row in rows] == ["better", "worse", "better"]
    assert found.names["policy.steals"] == ("steals, weighed", "steals")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"repeats": 9}, "repeats cannot be 9"),
        ({"variants": "pool=0"}, "variants cannot be 'pool=0'"),
        ({"variants": [5]}, "variants cannot be"),
        ({"workers": 0}, "workers cannot be 0"),
    ],
)
def test_refusals(synthetic_kev: Path, arguments: dict[str, object], said: str) -> None:
    with pytest.raises(KevacuateError, match=said):
        ablate(synthetic_kev, **arguments)  # type: ignore[arg-type]
