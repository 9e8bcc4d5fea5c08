# SPDX-License-Identifier: GPL-2.0-or-later
"""Policies of hooks on the fast model and on the oracle: one file, compiled there, ordinary Python here, compared in full."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lockstep import Disagreement, Lockstep
from lockstep_machines import THEMES, of_kernels, specs
from lockstep_script import Script
from lockstep_spec import Spec
from oracle.policy import Policy as OraclePolicy
from test_lockstep import SETTINGS

from kevacuate.mm.layout import policy_words
from kevacuate.policy import parse_policy
from kevacuate.policy.hooks import BY_BLOCK, BY_ZONE, HOOKS, words_of
from kevacuate.policy.install import counted, refuse_wrong_hook, with_hooks
from kevacuate.policy.load import _run

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = ROOT / "tests" / "policy" / "everything.py"
EXAMPLES = {
    "OnSteal": ROOT / "examples" / "evacuate_on_steal.py",
    "Reserve": ROOT / "examples" / "unmovable_reserve.py",
    "ByGfp": ROOT / "examples" / "steer_by_gfp.py",
}
DONE = {"policy: batch migrated", "policy: range compacted", "policy: slab freed"}
"""What the oracle counts of what workers have done."""
reached: Counter[str] = Counter()
moved: Counter[str] = Counter()
"""On how many machines a policy counted something."""


class PolicyLockstep(Lockstep):
    """Both models under a policy of hooks."""

    def __init__(self, spec: Spec, policy: str) -> None:
        super().__init__(spec)
        chosen = parse_policy(policy)
        assert chosen.hooks is not None
        self.file = chosen.hooks
        self.fast = with_hooks(self.fast, self.file, chosen.hook_knobs)
        space: dict[str, Any] = _run(self.file.path, compile(self.file.source, str(self.file.path), "exec"))
        cls = space[self.file.name]
        sizes = {BY_BLOCK: len(self.oracle.m.blocks), BY_ZONE: len(self.oracle.m.zones)}
        words = words_of(cls, sizes, chosen.hook_knobs)
        self.oracle.m.policy = OraclePolicy(cls, words, space, self.file.hooks)
        self.oracle.m.policy.notes_slab = "shrink_slab" in self.file.calls

    def _compare(self, fast_result: int, oracle_result: int) -> int:
        refuse_wrong_hook(self.fast, getattr(self, "file", None))
        result = super()._compare(fast_result, oracle_result)
        policy = self.oracle.m.policy
        if policy is not None and policy_words(self.fast).tolist() != policy.words:
            raise Disagreement(
                f"{self.operation}: the policy keeps {policy_words(self.fast).tolist()}, in the oracle {policy.words}"
            )
        return result


def drive(theme: str, plan: str, policy: str, machines: int, operations: int, kernel: str = "7.2") -> None:
    """Random machines of a theme, each driven by a script, under a policy."""

    @settings(SETTINGS, max_examples=machines)
    @given(specs(of_kernels(theme, kernel)), st.integers(0, 2**32 - 1))
    def run(spec: Spec, seed: int) -> None:
        lock = PolicyLockstep(spec, policy)
        Script(lock, seed, plan).run(operations)
        reached.update(lock.oracle.m.reached)
        moved.update(name for name, value in counted(lock.fast, lock.file).items() if value)

    run()


@pytest.mark.parametrize(
    ("theme", "plan", "kernel"),
    [
        ("evacuation", "staged", "7.2"),
        ("cma", "mixed", "7.2"),
        ("pressure", "press", "7.2"),
        ("compaction", "compaction", "7.2"),
        ("any", "mixed", "6.1"),
        ("highatomic", "highatomic", "6.12"),
    ],
)
def test_answers_by_chance_agree(theme: str, plan: str, kernel: str) -> None:
    assert theme in THEMES
    drive(theme, plan, f"{EVERYTHING}:Everything", 4, 800, kernel)
    drive(theme, plan, f"{EVERYTHING}:Everything,often=20", 3, 800, kernel)


@pytest.mark.parametrize(
    ("theme", "plan"),
    [("evacuation", "staged"), ("compaction", "compaction"), ("pressure", "press")],
)
def test_what_workers_have_done_agrees(theme: str, plan: str) -> None:
    drive(theme, plan, f"{EVERYTHING}:Works", 3, 700)


@pytest.mark.parametrize(("theme", "plan"), [("evacuation", "staged"), ("cma", "mixed")])
def test_another_order_of_turns_agrees(theme: str, plan: str) -> None:
    drive(theme, plan, f"{EVERYTHING}:Turns", 5, 800)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_agree(name: str) -> None:
    drive("evacuation", "staged", f"{EXAMPLES[name]}:{name}", 5, 800)


def test_two_sides_and_a_border_agree() -> None:
    moved.clear()
    drive("highatomic", "highatomic", "contiguitas,period_ms=1,start_percent=50", 5, 800)
    drive("pressure", "press", "contiguitas,period_ms=1", 4, 800)
    drive("any", "mixed", "contiguitas,period_ms=1,start_percent=20,budget_us=10", 3, 800)
    assert all(moved[name] for name in ("taken", "given", "moved", "unmovable_short", "movable_short")), moved


def test_every_hook_is_asked_and_agrees_on_any_machine() -> None:
    """What workers do, too."""
    reached.clear()
    drive("any", "mixed", f"{EVERYTHING}:Everything", 4, 800)
    drive("any", "mixed", f"{EVERYTHING}:Everything,often=20", 3, 800)
    drive("any", "mixed", f"{EVERYTHING}:Works", 3, 700)
    drive("any", "mixed", f"{EVERYTHING}:Turns", 5, 800)
    assert {f"hook {hook}" for hook in HOOKS} | DONE <= {what for what, times in reached.items() if times}


def test_a_hook_that_only_one_side_has_is_noticed() -> None:
    def run() -> None:
        @settings(SETTINGS, max_examples=4)
        @given(specs(of_kernels("any", "7.2")), st.integers(0, 2**32 - 1))
        def one(spec: Spec, seed: int) -> None:
            lock = PolicyLockstep(spec, f"{EVERYTHING}:Everything")
            lock.oracle.m.policy.hooks -= {"nr_pcp_alloc"}
            Script(lock, seed, "mixed").run(800)

        one()

    with pytest.raises(Disagreement):
        run()
