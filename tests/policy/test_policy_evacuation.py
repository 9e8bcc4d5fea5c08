# SPDX-License-Identifier: GPL-2.0-or-later
"""From a policy to the model's parameters."""

from dataclasses import asdict, fields

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.mm.layout import EvacuationConfig, MachineConfig, RegionConfig, ZoneConfig, build_state
from kevacuate.policy import KNOBS, POLICIES, parse_policy
from kevacuate.policy.knobs import MOST
from kevacuate.policy.settings import SETTINGS

CHOICES = {
    "skip-hint": ("ignore", False),
    "claim-types": ("unmovable", "unmovable"),
    "on-steal": ("yes", True),
    "claim-guard": ("no", False),
    "type-recheck": ("no", False),
    "failed-page": ("go-on", True),
    "drain-first": ("yes", True),
    "queue-twice": ("no", False),
    "no-item": ("wait", True),
    "clean-cache": ("move", False),
    "target-pages": ("movable", False),
    "isolate-block": ("yes", True),
}
"""Knobs that take words, each turned away from the patch."""

OF_REGIONS = {one.name for one in fields(RegionConfig)}
EVACUATE = POLICIES["evacuate"]
_FIELDS = {
    name: knob.field for name, knob in EVACUATE.knobs.items() if knob.field and knob.field not in OF_REGIONS
}
"""The fields that the evacuation's own knobs set; those of regions are in tests/policy/test_policy_parse.py."""


def test_every_knob_belongs_to_a_policy_and_says_what_it_is() -> None:
    assert set(KNOBS) == {knob for kind in POLICIES.values() for knob in kind.knobs}
    for knob in KNOBS.values():
        assert knob.help
        assert knob.values


def test_every_knob_but_the_inputs_sets_one_field() -> None:
    regions = {name for name, knob in KNOBS.items() if knob.field in OF_REGIONS}
    assert set(_FIELDS) == set(KNOBS) - {"skip-bits", "no-workqueue", *SETTINGS} - regions
    assert {KNOBS[name].field for name in regions} <= OF_REGIONS
    names = {f.name for f in fields(EvacuationConfig)}
    assert sorted(_FIELDS.values()) == sorted(set(_FIELDS.values()))
    assert names - set(_FIELDS.values()) == {"evacuate", "ready", "regions"}


@pytest.mark.parametrize(("knob", "name"), list(_FIELDS.items()))
def test_a_knob_changes_its_field_alone(knob: str, name: str) -> None:
    text, value = {"wq": ("per-node", "per_node"), **CHOICES}.get(knob, ("17", 17))
    plain = asdict(parse_policy("evacuate").evacuation(1, 1))
    turned = asdict(parse_policy(f"evacuate,{knob}={text}").evacuation(1, 1))
    assert {n for n in plain if plain[n] != turned[n]} == {name}
    assert turned[name] == value


def test_defaults_are_the_patch_s() -> None:
    config = parse_policy("evacuate").evacuation(1, 1)
    assert config == EvacuationConfig(evacuate=True)
    assert (config.pool, config.wq, config.skip_hint) == (64, "per_cpu", True)
    assert (config.claims, config.tries) == ("both", 1)
    turned = {
        parse_policy(f"evacuate,{knob}={text}").kind.knobs[knob].field for knob, (text, _) in CHOICES.items()
    }
    switches = {one.name for one in fields(EvacuationConfig) if isinstance(one.default, bool)} - {"evacuate"}
    assert turned == switches | {"claims"}
    assert parse_policy("mainline").evacuation(1, 1) == EvacuationConfig(evacuate=False)


def test_time_scale_is_the_recording_s_unless_named() -> None:
    assert parse_policy("evacuate").evacuation(25, 1).time_scale == 25
    assert parse_policy("evacuate,time-scale=3").evacuation(25, 1).time_scale == 3
    assert parse_policy("evacuate,time-scale=0").evacuation(25, 1).time_scale == 0


def test_nodes_without_a_workqueue() -> None:
    assert parse_policy("evacuate,no-workqueue=0+2").evacuation(1, 3).ready == (False, True, False)
    assert parse_policy("evacuate").evacuation(1, 3).ready is None


def test_a_node_that_the_machine_does_not_have() -> None:
    with pytest.raises(KevacuateError, match="names node 3: the machine has nodes 0 to 2"):
        parse_policy("evacuate,no-workqueue=0+3").evacuation(1, 3)


def test_the_largest_values_fit_the_model() -> None:
    numbers = [knob for knob in _FIELDS if knob not in ("wq", "pool", "batch-tries", *CHOICES)]
    spec = ",".join(["evacuate", *(f"{knob}={MOST}" for knob in numbers)])
    config = parse_policy(spec).evacuation(1, 1)
    state = build_state(MachineConfig(npages=1024, zones=(ZoneConfig(0, 2, 0, 1024),)), config)
    assert state.worker.size > 0
    slowest = 512 * (MOST + MOST + MOST) * MOST
    assert slowest < 2**63
