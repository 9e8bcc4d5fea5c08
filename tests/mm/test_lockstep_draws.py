# SPDX-License-Identifier: GPL-2.0-or-later
"""The lockstep tests turn every knob of every policy: one that is not turned would be held against nothing."""

from __future__ import annotations

import importlib.util
import sys
from collections import defaultdict
from dataclasses import fields
from pathlib import Path

import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from lockstep_machines import THEMES, specs
from lockstep_spec import MACHINE_FIELDS, POLICY_FIELDS, Spec, oracle_config

from kevacuate.mm.layout import EvacuationConfig, RegionConfig
from kevacuate.mm.profile import PROFILES
from kevacuate.policy import KNOBS
from kevacuate.policy.settings import SETTINGS
from kevacuate.runs.sysctls import model_settings

REGIONS = {field.name for field in fields(RegionConfig)}
PARAMETERS = {field.name for field in fields(EvacuationConfig)} - {"regions"}
INPUTS = {"skip-bits": "set_skip is an operation of the scripts", "no-workqueue": "sets ready"}


def test_every_knob_sets_a_parameter_or_is_an_input() -> None:
    assert {knob.field for knob in KNOBS.values() if knob.field} <= PARAMETERS | REGIONS
    assert {name for name, knob in KNOBS.items() if not knob.field} == {*INPUTS, *SETTINGS}


def test_every_parameter_is_passed_to_the_oracle() -> None:
    assert set(POLICY_FIELDS) == PARAMETERS - {"ready"}  # which oracle_config passes on


def test_every_parameter_is_drawn_with_several_values_and_reaches_the_oracle() -> None:
    drawn: dict[str, set[object]] = defaultdict(set)
    passed: dict[str, set[object]] = defaultdict(set)

    @settings(max_examples=200)
    @given(specs(THEMES["any"]))
    def draw(spec: Spec) -> None:
        config = oracle_config(spec)
        for name in PARAMETERS:
            drawn[name].add(getattr(spec.policy, name))
            passed[name].add(repr(getattr(config, name)))

    draw()
    assert [name for name in sorted(PARAMETERS) if len(drawn[name]) < 2] == []
    assert [name for name in sorted(PARAMETERS) if len(passed[name]) < 2] == []


def test_every_parameter_of_regions_is_drawn_with_several_values_and_reaches_the_oracle() -> None:
    drawn: dict[str, set[object]] = defaultdict(set)
    passed: dict[str, set[object]] = defaultdict(set)

    @settings(max_examples=100)
    @given(st.one_of(specs(THEMES[name]) for name in ("by regions", "contig, by regions")))
    def draw(spec: Spec) -> None:
        config = oracle_config(spec)
        for name in REGIONS:
            drawn[name].add(repr(getattr(spec.policy.regions, name)))
            passed[name].add(repr(getattr(config, name)))

    draw()
    assert [name for name in sorted(REGIONS) if len(drawn[name]) < 2] == []
    assert [name for name in sorted(REGIONS) if len(passed[name]) < 2] == []


def test_every_sysctl_that_a_policy_gives_the_model_is_drawn_with_several_values() -> None:
    turned = {
        field
        for setting in SETTINGS
        for field in model_settings(synthetic.machine(), PROFILES["7.2"], {setting: 1})
    }
    assert turned == {
        "compact_unevictable_allowed",
        "compaction_proactiveness",
        "defrag_mode",
        "extfrag_threshold",
        "pcp_high_fraction",
        "watermark_boost_factor",
        "swap_pages",
        "swappiness",
        "lru_gen",
        "anon_used",
        "zram_bytes",
    }
    assert turned <= set(MACHINE_FIELDS)
    drawn: dict[str, set[object]] = defaultdict(set)

    @settings(max_examples=100)
    @given(st.one_of(specs(THEMES[name]) for name in ("any", "compaction", "pressure, zram", "generations")))
    def draw(spec: Spec) -> None:
        for name in turned:
            drawn[name].add(getattr(spec.machine, name))

    draw()
    assert [name for name in sorted(turned) if len(drawn[name]) < 2] == []


def test_what_is_drawn_does_not_depend_on_the_modules_that_are_loaded(tmp_path: Path) -> None:
    def drawn() -> list[int]:
        numbers: list[int] = []

        @settings(max_examples=300)
        @given(st.integers(0, 2**32 - 1))
        def draw(number: int) -> None:
            numbers.append(number)

        draw()
        return numbers

    before = drawn()
    path = tmp_path / "numbers_of_a_module.py"
    path.write_text("\n".join(f"A{i} = {1_000_003 * i}" for i in range(1, 400)))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
        assert drawn() == before
    finally:
        del sys.modules[path.stem]
