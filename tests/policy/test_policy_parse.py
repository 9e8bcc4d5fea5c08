# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy's text may say, and what is said of any other text."""

import re

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.policy import KNOBS, POLICIES, Policy, parse_policy
from kevacuate.policy.knobs import COMMON
from kevacuate.policy.settings import SETTINGS

GOOD_VALUES = {
    "pool": ("0", 0),
    "wq": ("per-node", "per_node"),
    "skip-hint": ("ignore", False),
    "claim-types": ("reclaimable", "reclaimable"),
    "on-steal": ("yes", True),
    "claim-guard": ("no", False),
    "type-recheck": ("no", False),
    "batch-tries": ("5", 5),
    "failed-page": ("go-on", True),
    "drain-first": ("yes", True),
    "queue-twice": ("no", False),
    "no-item": ("wait", True),
    "clean-cache": ("move", False),
    "target-pages": ("movable", False),
    "isolate-block": ("yes", True),
    "skip-bits": ("0.5", 0.5),
    "time-scale": ("25", 25),
    "no-workqueue": ("0+2", (0, 2)),
    "irq-work-ns": ("7", 7),
    "wakeup-ns": ("1000000", 1_000_000),
    "work-ns": ("1", 1),
    "scan-ns": ("2", 2),
    "isolate-ns": ("3", 3),
    "reclaim-ns": ("4", 4),
    "migrate-ns": ("5", 5),
    "min_free_kbytes": ("65536", 65536),
    "watermark_scale_factor": ("3000", 3000),
    "watermark_boost_factor": ("2147483647", 2**31 - 1),
    "compaction_proactiveness": ("100", 100),
    "defrag_mode": ("1", 1),
    "percpu_pagelist_high_fraction": ("8", 8),
    "extfrag_threshold": ("0", 0),
    "compact_unevictable_allowed": ("0", 0),
    "regions": ("18", 18),
    "region-fullness": ("10+20+30", (10, 20, 30)),
    "steer-claims": ("0", 0),
    "steer-refills": ("4096", 4096),
    "reserve-least": ("16", 16),
    "reserve-percent": ("100", 100),
    "half-rule": ("kept", True),
    "pack-above": ("0", 0),
    "taint-nofragment": ("allow", True),
    "cheap-fallback": ("waits", False),
    "start-blocks": ("4", 4),
    "start-pages": ("5", 5),
    "stop-blocks": ("8", 8),
    "stop-pages": ("9", 9),
    "cooldown-ms": ("100", 100_000_000),
    "slowpath-nofragment": ("kept", True),
    "evacuate-blocks": ("4096", 4096),
    "shrink-priority": ("12", 12),
    "contig-tries": ("4096", 4096),
    "contig-free": ("100", 100),
    "memory": ("0.8", 0.8),
    "thp_enabled": ("never", "never"),
    "thp_defrag": ("defer+madvise", "defer+madvise"),
    "zram": ("512M", 512 << 20),
    "zram_ratio": ("2.5", 2.5),
    "swappiness": ("200", 200),
    "lru_gen": ("1", 1),
    "anon_used": ("0", 0.0),
}

BAD_VALUES = [
    *(
        (name, text)
        for name in ("pool", "time-scale", "work-ns")
        for text in ("", "-1", "x", "1.5", "1_0", "٣", " 1")
    ),
    *((name, str(10**6 + 1)) for name in ("pool", "time-scale", "migrate-ns")),
    ("pool", "9" * 5000),
    ("wq", "per_cpu"),
    ("wq", ""),
    ("skip-hint", "maybe"),
    ("claim-types", "movable"),
    ("on-steal", "1"),
    *(("batch-tries", text) for text in ("0", "101", "-1", "x", "")),
    ("no-item", "retry"),
    ("skip-bits", "1.01"),
    ("skip-bits", "-0.1"),
    ("skip-bits", "nan"),
    ("skip-bits", "inf"),
    ("skip-bits", "some"),
    ("no-workqueue", ""),
    ("no-workqueue", "0+"),
    ("no-workqueue", "a"),
    ("min_free_kbytes", "-1"),
    ("min_free_kbytes", str(2**31)),
    ("min_free_kbytes", "9" * 5000),
    ("min_free_kbytes", "64M"),
    ("watermark_scale_factor", "0"),
    ("watermark_scale_factor", "3001"),
    ("compaction_proactiveness", "101"),
    ("defrag_mode", "2"),
    *(("percpu_pagelist_high_fraction", text) for text in ("1", "7")),
    ("extfrag_threshold", "1001"),
    *(("memory", text) for text in ("0", "0.0", "1.01", "-0.5", "80%", "nan", "1e-3", ".", "")),
    ("thp_enabled", "always"),
    ("thp_defrag", "defer+"),
    *(
        ("zram", text)
        for text in ("", "512", "0M", "1T", "-1G", "1.5G", "1023G1", "2048G", "3K", "M", "9" * 50 + "M")
    ),
    *(("zram_ratio", text) for text in ("0", "0.9", "101", "x", "nan", "")),
    *(("swappiness", text) for text in ("201", "-1", "", "1.5")),
    *(("lru_gen", text) for text in ("2", "-1", "on", "", "0x7")),
    *(("anon_used", text) for text in ("1.1", "-0", "", ".", "half")),
    *(("steer-claims", text) for text in ("4097", "-1", "all")),
    ("reserve-percent", "101"),
    ("half-rule", "yes"),
    ("cheap-fallback", "wait"),
    ("evacuate-blocks", "4097"),
    ("shrink-priority", "13"),
    ("contig-tries", "4097"),
    ("contig-free", "101"),
    *(("regions", text) for text in ("", "3", "31", "on", "1G", "-1")),
    *(
        ("region-fullness", text)
        for text in ("", "25", "25+50", "50+25+75", "25+50+101", "25+50+75+80", "a+b+c")
    ),
]


def taker(knob: str) -> str:
    """A policy that has the knob."""
    return next(name for name in ("evacuate", *reversed(POLICIES)) if knob in POLICIES[name].knobs)


def refusal(spec: str) -> str:
    with pytest.raises(KevacuateError) as caught:
        parse_policy(spec)
    return str(caught.value)


def test_names_alone() -> None:
    assert parse_policy("mainline") == Policy("mainline", "mainline", {})
    assert parse_policy(" evacuate\n") == Policy("evacuate", "evacuate", {})
    assert not parse_policy("mainline").evacuates
    assert parse_policy("evacuate").evacuates


def test_every_knob_is_read() -> None:
    assert set(GOOD_VALUES) == set(KNOBS)
    for name, (text, value) in GOOD_VALUES.items():
        assert parse_policy(f"{taker(name)},{name}={text}").knobs == {name: value}


def test_several_knobs_keep_the_text_as_the_name_of_the_run() -> None:
    policy = parse_policy("evacuate,pool=8,wq=per-cpu,skip-hint=honour")
    assert policy.spec == "evacuate,pool=8,wq=per-cpu,skip-hint=honour"
    assert policy.knobs == {"pool": 8, "wq": "per_cpu", "skip-hint": True}


@pytest.mark.parametrize(
    ("text", "value"), [("recorded", "recorded"), ("none", "none"), ("all", "all"), ("0", 0.0), ("1", 1.0)]
)
def test_skip_bits(text: str, value: object) -> None:
    assert parse_policy(f"mainline,skip-bits={text}").skip_bits == value


def test_skip_bits_are_the_recorded_ones_unless_named() -> None:
    assert parse_policy("mainline").skip_bits == parse_policy("evacuate,pool=1").skip_bits == "recorded"


@pytest.mark.parametrize("name", ["", "Mainline", "evacuat", "evacuate;pool=1", "=", "mainline=1"])
def test_unknown_policy_lists_the_known_ones(name: str) -> None:
    said = refusal(name)
    assert repr(name) in said
    assert all(re.search(rf"\b{known}\b", said) for known in POLICIES)


@pytest.mark.parametrize("policy", list(POLICIES))
@pytest.mark.parametrize("knob", ["", "Pool", "pool ", "nr_items", "=3"])
def test_unknown_knob_lists_the_knobs_of_that_policy(policy: str, knob: str) -> None:
    said = refusal(f"{policy},{knob}=3")
    takes = re.search(r"[Ii]t takes (.*)\.$", said)
    assert takes is not None
    assert takes[1].split(", ") == list(POLICIES[policy].knobs)


def test_a_knob_misspelt_is_answered_with_the_one_like_it() -> None:
    assert "no knob 'pol': did you mean pool? It takes pool, wq" in refusal("evacuate,pol=3")
    assert "no knob 'xyz': it takes pool, wq" in refusal("evacuate,xyz=3")


def test_mainline_takes_the_settings_and_no_knob_of_the_patch() -> None:
    assert set(POLICIES["mainline"].knobs) == {*COMMON, *SETTINGS}
    for name in set(KNOBS) - {*COMMON, *SETTINGS}:
        assert f"no knob {name!r}" in refusal(f"mainline,{name}={GOOD_VALUES[name][0]}")


@pytest.mark.parametrize(("knob", "text"), BAD_VALUES)
def test_bad_value_says_what_the_knob_takes(knob: str, text: str) -> None:
    said = refusal(f"{taker(knob)},{knob}={text}")
    shown = text if len(text) <= 40 else f"{text[:40]}..."
    assert said.startswith(f"Knob {knob} of policy {taker(knob)} cannot be {shown!r}")
    assert len(said) < 300
    assert KNOBS[knob].values in said


@pytest.mark.parametrize("name", [name for name in POLICIES if POLICIES[name].regions.region_order])
def test_a_policy_that_goes_by_regions_needs_them(name: str) -> None:
    assert "it takes auto (default: 1 GiB, less on machines below 16 GiB) or an order" in refusal(
        f"{name},regions=off"
    )
    assert parse_policy(f"{name},regions=18").evacuation(1, 1).regions.region_order == 18


@pytest.mark.parametrize("knob", list(KNOBS))
def test_knob_without_a_value(knob: str) -> None:
    assert f"cannot be 'nothing': it takes {KNOBS[knob].values}" in refusal(f"{taker(knob)},{knob}")


def test_a_knob_given_twice() -> None:
    assert "pool twice" in refusal("evacuate,pool=1,pool=1")


@pytest.mark.parametrize(
    "spec", ["", "x", "mainline,pool=3", "evacuate,pool", "evacuate,pool=x", "evacuate,wq=per-cpu,wq=per-cpu"]
)
def test_a_refusal_is_one_sentence(spec: str) -> None:
    said = refusal(spec)
    assert "\n" not in said
    assert said[0].isupper()
    assert said.endswith(".")
