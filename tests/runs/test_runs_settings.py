# SPDX-License-Identifier: GPL-2.0-or-later
"""The recorded vm sysctls are those of every replay, and are told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic
from click.testing import CliRunner

from kevacuate import Recording
from kevacuate.capture import machine as capture_machine
from kevacuate.cli.main import cli
from kevacuate.demand.build import build_demand
from kevacuate.errors import KevacuateError
from kevacuate.policy import parse_policy
from kevacuate.recording.settings import SYSCTLS, recorded_settings, settings_in_words
from kevacuate.runs import replay as of_replay
from kevacuate.runs.initial_state import machine_config
from kevacuate.runs.options import ReplayOptions
from kevacuate.runs.replay import Replay, replay
from kevacuate.runs.sysctls import settings_used

FIELDS = {
    "compaction_proactiveness": (7, "compaction_proactiveness", 7),
    "extfrag_threshold": (250, "extfrag_threshold", 250),
    "watermark_boost_factor": (0, "watermark_boost_factor", 0),
    "defrag_mode": (1, "defrag_mode", 1),
    "compact_unevictable_allowed": (0, "compact_unevictable_allowed", 0),
    "stat_interval": (3, "stat_interval", 3_000_000_000),
}
"""A value that is not the default, and where and how the model's state holds it."""


def recorded_with(path: Path, settings: dict[str, Any], **machine: Any) -> Recording:
    described = synthetic.machine(extra={"settings": settings}, **machine)
    return Recording.open(synthetic.write_recording(path, described=described))


@pytest.mark.parametrize("name", FIELDS)
def test_a_recorded_sysctl_is_in_the_models_state_and_in_the_provenance(name: str, tmp_path: Path) -> None:
    value, field, kept = FIELDS[name]
    recording = recorded_with(tmp_path / "a.kev", {name: value})
    one = Replay(recording, build_demand(recording), parse_policy("mainline"), ReplayOptions(samples=2))
    assert getattr(one.state.view.cfg, field) == kept
    used = one.run().provenance["vm_settings"]
    assert used["replayed"][name] == value
    assert name not in used["not_recorded"]
    assert set(used["not_recorded"]) == {s.name for s in SYSCTLS if s.modelled} - {name}


def test_every_modelled_sysctl_reaches_the_models_description() -> None:
    defaults = machine_config(synthetic.machine(), synthetic.start_state())
    changed: set[str] = set()
    for sysctl in SYSCTLS:
        other = sysctl.most if sysctl.default != sysctl.most else sysctl.least
        described = synthetic.machine(extra={"settings": {sysctl.name: other}})
        config = machine_config(described, synthetic.start_state())
        assert (config != defaults) == (sysctl.modelled or sysctl.reclaim), sysctl.name
        changed |= {sysctl.name} if config != defaults else set()
    assert changed == {*FIELDS, "percpu_pagelist_high_fraction", "swappiness", "dirty_expire_centisecs"}


def test_the_recorded_lru_gen_is_replayed_unless_a_policy_says_otherwise() -> None:
    for recorded, given, runs in (
        (7, {}, True),
        (0, {}, False),
        (7, {"lru_gen": 0}, False),
        (6, {"lru_gen": 1}, True),
    ):
        described = synthetic.machine(extra={"settings": {"lru_gen": recorded}})
        config = machine_config(described, synthetic.start_state(), given, closed=True)
        assert config.lru_gen == runs
    assert not machine_config(synthetic.machine(), synthetic.start_state(), closed=True).lru_gen
    assert settings_used(described)["replayed"]["lru_gen"] == 0
    assert "lru_gen 0 (replayed in a closed loop)" in settings_in_words(described)


@pytest.mark.parametrize("value", [8, -1, "7", 1.5])
def test_an_lru_gen_that_linux_does_not_give_is_refused(value: Any) -> None:
    described = synthetic.machine(extra={"settings": {"lru_gen": value}})
    with pytest.raises(KevacuateError, match=r"^The recording says lru_gen is .* but Linux gives 0 to 7"):
        machine_config(described, synthetic.start_state())


def test_the_recorder_reads_lru_gen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kernel/mm/lru_gen/enabled"
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(capture_machine, "SYS", tmp_path)
    for text, value in (("0x0007\n", 7), ("0x0000\n", 0), ("on", None)):
        file.write_text(text)
        assert capture_machine.settings().get("lru_gen") == value


def test_without_a_recorded_value_the_kernels_default_is_replayed() -> None:
    config = machine_config(synthetic.machine(), synthetic.start_state())
    said = {s.name: s.default for s in SYSCTLS if s.modelled}
    assert said == {
        "compaction_proactiveness": config.compaction_proactiveness,
        "extfrag_threshold": config.extfrag_threshold,
        "watermark_boost_factor": config.watermark_boost_factor,
        "defrag_mode": config.defrag_mode,
        "compact_unevictable_allowed": config.compact_unevictable_allowed,
        "percpu_pagelist_high_fraction": config.pcp_high_fraction,
        "stat_interval": config.stat_interval_ns // 1_000_000_000,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [(s.name, bad) for s in SYSCTLS for bad in (s.least - 1, s.most + 1, "20", 1.5)],
)
def test_a_value_that_linux_does_not_take_is_refused_by_name(name: str, value: Any) -> None:
    described = synthetic.machine(extra={"settings": {name: value}})
    with pytest.raises(KevacuateError, match=f"vm.{name} is .* but Linux takes"):
        machine_config(described, synthetic.start_state())


def test_settings_that_are_no_table_are_none() -> None:
    assert recorded_settings(synthetic.machine(extra={"settings": [1]})) == {}


def test_a_profile_without_defrag_mode_is_replayed_without_and_says_so(tmp_path: Path) -> None:
    recording = recorded_with(tmp_path / "a.kev", {"defrag_mode": 1}, kernel="6.16.3")
    used = replay(recording, options=ReplayOptions(samples=2)).provenance["vm_settings"]
    assert used["replayed"]["defrag_mode"] == 0
    assert "profile 6.12 has no defrag_mode" in used["not_replayed"]["defrag_mode"]


def test_info_shows_what_was_recorded_and_what_becomes_of_it(tmp_path: Path) -> None:
    settings = {"compaction_proactiveness": 0, "min_free_kbytes": 5000, "zone_reclaim_mode": 1}
    recorded_with(tmp_path / "a.kev", settings)
    text = CliRunner().invoke(cli, ["info", str(tmp_path / "a.kev")]).output
    for said in (
        "compaction_proactiveness 0 (replayed)",
        "min_free_kbytes 5000 (in the recorded watermarks)",
    ):
        assert said in text
    assert "zone_reclaim_mode 1 (not modelled" in text
    assert "extfrag_threshold 500" in text.split("not recorded")[1]
    shown = json.loads(CliRunner().invoke(cli, ["info", "--json", str(tmp_path / "a.kev")]).output)
    assert shown["vm_settings"] == settings


def test_the_recorder_reads_every_sysctl_and_leaves_out_an_absent_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = tmp_path / "sys/vm"
    vm.mkdir(parents=True)
    for sysctl in SYSCTLS:
        if sysctl.name != "defrag_mode":
            (vm / sysctl.name).write_text(f"{sysctl.most}\n")
    monkeypatch.setattr(capture_machine, "PROC", tmp_path)
    found = capture_machine.settings()
    assert {n: v for n, v in found.items() if not n.startswith("thp_")} == {
        s.name: s.most for s in SYSCTLS if s.name != "defrag_mode"
    }


def test_the_recorder_reads_the_distances_of_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for node, row in ((0, "10 21 31"), (1, "21 10 41"), (3, "31 41 10")):
        directory = tmp_path / f"devices/system/node/node{node}"
        directory.mkdir(parents=True)
        (directory / "distance").write_text(row + "\n")
    monkeypatch.setattr(capture_machine, "SYS", tmp_path)
    far = [255] * 4
    assert capture_machine.node_distances() == [[10, 21, 255, 31], [21, 10, 255, 41], far, [31, 41, 255, 10]]


def test_recorded_distances_of_nodes_order_the_zonelists() -> None:
    table = [[10, 21], [21, 10]]
    described = synthetic.machine(extra={"node_distance": table})
    assert machine_config(described, synthetic.start_state()).distance == ((10, 21), (21, 10))
    for bad in ([[10], [10, 20]], [], "10 20", [[10, 9], [9, 10]]):
        with pytest.raises(KevacuateError, match="table of node distances"):
            machine_config(synthetic.machine(extra={"node_distance": bad}), synthetic.start_state())


OFF = {
    "compaction_proactiveness": "compaction_proactiveness",
    "watermark_boost_factor": "watermark_boost_factor",
}
FIGURES = ("watermark_boosts", "kswapd_wakes", "compactions", "compaction_pages_migrated", "extfrag")


@pytest.mark.parametrize("loop", ["open", "closed"])
@pytest.mark.parametrize("off", [("watermark_boost_factor",), tuple(OFF)])
def test_the_shipped_recording_as_if_of_a_machine_with_them_off(
    off: tuple[str, ...], loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is recorded comes to the same as what the model is told; a factor of 0 boosts nothing."""
    recording = Recording.shipped()
    told = machine_config(recording.machine, recording.start, closed=loop == "closed")
    told = replace(told, **{OFF[name]: 0 for name in off})
    options = ReplayOptions(samples=2, loop=loop)
    extra = {**recording.machine.extra, "settings": dict.fromkeys(off, 0)}
    object.__setattr__(recording, "machine", replace(recording.machine, extra=extra))
    recorded = replay(recording, options=options)
    monkeypatch.setattr(of_replay, "machine_config", lambda *_, **__: told)
    honoured = replay(Recording.shipped(), options=options)
    assert recorded.provenance["final_state_digest"] == honoured.provenance["final_state_digest"]
    assert {n: recorded.metrics[n] for n in FIGURES} == {n: honoured.metrics[n] for n in FIGURES}
    assert recorded.metrics["watermark_boosts"] == 0
    assert recorded.provenance["vm_settings"]["replayed"]["watermark_boost_factor"] == 0
