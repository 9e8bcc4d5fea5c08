# SPDX-License-Identifier: GPL-2.0-or-later
"""The workloads that ship: each can be read and laid out, says where its figures are from, and LLFree's experiment stays flat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from llfree_experiment import ends_of_rounds, run, smaller

import kevacuate
from kevacuate import KevacuateError
from kevacuate.workload.named import names, path_of
from kevacuate.workload.plan import new_generator, plan_of
from kevacuate.workload.stream import rows_of
from kevacuate.workload.toml import read_workload


@pytest.mark.parametrize("name", names())
def test_a_workload_that_ships_fits_its_machine_and_names_sources(name: str) -> None:
    workload = read_workload(f"workload:{name}")
    assert workload.name == name
    plan = plan_of(workload)
    assert 0.8 < plan.pages / plan.memory < 0.98
    text = path_of(name).read_text(encoding="utf-8")
    assert text.count("(") >= 2  # a source stands in brackets behind what it is of
    assert "chosen" in text or name.startswith("llfree")
    recording = kevacuate.open(f"workload:{name}")
    assert recording.machine.cpus == workload.machine.cpus


def test_the_page_of_workloads_names_all_that_ship() -> None:
    page = (Path(__file__).parents[2] / "docs" / "workload.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in names())
    with pytest.raises(KevacuateError, match="There is no workload 'x': known are build-farm, "):
        kevacuate.open("workload:x")


def test_a_build_farm_runs() -> None:
    workload = replace(read_workload("workload:build-farm"), duration="200ms", fill="200ms")
    assert sum(chunk.t.size for chunk in rows_of(new_generator(workload))) > 100_000


def test_free_huge_frames_stay_flat_in_llfrees_experiment() -> None:
    workload = smaller(read_workload("workload:llfree-fragmentation"), 0.003)
    workload = replace(workload, parts=(replace(workload.parts[0], rounds=6),))
    found = run(workload, "mainline")
    assert len(found) == len(ends_of_rounds(workload)) == 7
    plan = plan_of(workload)
    untouched = (plan.memory - (1 << 20) - plan.objects) // 512
    huge = [frames for _, frames in found]
    assert max(huge) - min(huge) <= 1
    assert untouched - 12 < huge[0] <= untouched
