# SPDX-License-Identifier: GPL-2.0-or-later
"""The variants that policies declare, those of a file, and those that a user names."""

from __future__ import annotations

from pathlib import Path

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.policy import BASELINE, POLICIES, parse_policy
from kevacuate.policy.ablation import ablation_of, with_knobs
from kevacuate.policy.variant import MOST_NAME, MOST_WHAT, OPENING, PART, TOGETHER

DECLARING = [name for name, kind in POLICIES.items() if kind.ablation]

CLASS = '''
from kevacuate.policy.api import Hooks, knob


class Own(Hooks):
    """Ours."""

    least = knob(3, "least", most=10)
    ablation = {}

    def page_stolen(self, s, z, pfn, order, start_type, block_type):
        return
'''


def own(tmp_path: Path, ablation: str) -> str:
    path = tmp_path / "own.py"
    path.write_text(CLASS.format(ablation))
    return f"{path}:Own"


def test_some_policy_declares_variants() -> None:
    assert DECLARING


@pytest.mark.parametrize("name", DECLARING)
def test_variants_are_policies_that_differ(name: str) -> None:
    kind = POLICIES[name].ablation
    found = [parse_policy(f"{name},{variant.knobs}").evacuation(1, 1) for variant in kind]
    assert len({*map(repr, found), repr(parse_policy(name).evacuation(1, 1))}) == len(kind) + 1
    assert len({variant.name for variant in kind}) == len(kind)
    for variant in kind:
        assert len(variant.name) <= MOST_NAME
        assert 0 < len(variant.what) <= MOST_WHAT
        assert variant.kind in (PART, OPENING, TOGETHER)


@pytest.mark.parametrize("name", DECLARING)
def test_every_opening_is_there_alone_and_together(name: str) -> None:
    openings = [one for one in POLICIES[name].ablation if one.kind == OPENING]
    assert {one.name[0] for one in openings} == set("12345678")
    assert all(one.knobs.count("=") == 1 for one in openings)
    (together,) = [one for one in POLICIES[name].ablation if one.kind == TOGETHER]
    alone = {one.knobs for one in openings}
    assert alone - set(together.knobs.split(",")) == {"pool=1024", "wq=per-node"}
    assert set(together.knobs.split(",")) <= alone


def test_the_first_variant_is_the_policy_s_absence_with_its_settings() -> None:
    variants = ablation_of(parse_policy("evacuate,pool=8,skip-bits=0.5,min_free_kbytes=2000"))
    assert variants[0][1].spec == f"{BASELINE},skip-bits=0.5,min_free_kbytes=2000"
    assert variants[1][1].spec == "evacuate,skip-bits=0.5,min_free_kbytes=2000,pool=0"


def test_a_variant_that_the_policy_is_already_is_left_out() -> None:
    all_of_them = ablation_of(parse_policy("evacuate"))
    without = ablation_of(parse_policy("evacuate,skip-hint=ignore"))
    assert len(without) == len(all_of_them) - 1
    assert all("skip-hint=ignore" in policy.spec for _, policy in without[1:])


def test_knobs_take_the_place_of_their_own() -> None:
    base = parse_policy("evacuate,pool=8,wq=per-node")
    assert with_knobs(base, "pool=9,on-steal=yes").spec == "evacuate,wq=per-node,pool=9,on-steal=yes"


def test_variants_that_are_named_take_the_place_of_those_declared() -> None:
    found = ablation_of(parse_policy("evacuate"), ["pool=8", "pool=9,wq=per-node"])
    assert [(variant.name, policy.spec) for variant, policy in found] == [
        ("pool=8", "evacuate,pool=8"),
        ("pool=9,wq=per-node", "evacuate,pool=9,wq=per-node"),
    ]
    assert ablation_of(parse_policy("mainline"), ["skip-bits=none"])[0][1].spec == "mainline,skip-bits=none"


@pytest.mark.parametrize(
    ("policy", "chosen", "said"),
    [
        ("mainline", None, "The policy mainline declares no ablation: name its variants, as --variant"),
        ("evacuate", ["pool=8", "pool=8"], "The variant pool=8 is given twice."),
        ("evacuate,pool=8", ["pool=8"], "The variant pool=8 changes nothing of evacuate,pool=8."),
        ("evacuate", ["poool=8"], "no knob 'poool'"),
        ("evacuate", ["pool=x"], "cannot be 'x'"),
        ("evacuate", [""], "changes nothing"),
    ],
)
def test_refusals(policy: str, chosen: list[str] | None, said: str) -> None:
    with pytest.raises(KevacuateError) as caught:
        ablation_of(parse_policy(policy), chosen)
    assert said in str(caught.value)


def test_a_class_in_a_file_declares_its_own(tmp_path: Path) -> None:
    spec = own(tmp_path, '[("none", "least=0", "all of them"), ("some", "least=5,pool=8", "")]')
    variants = ablation_of(parse_policy(f"{spec},pool=9"))
    assert [(one.name, one.what, policy.spec) for one, policy in variants] == [
        ("without it", variants[0][0].what, "mainline"),
        ("none", "all of them", f"{spec},pool=9,least=0"),
        ("some", "", f"{spec},least=5,pool=8"),
    ]


@pytest.mark.parametrize(
    "ablation",
    [
        "5", "'none'", "[5]", "['a']", "[('a', 'least=0')]", "[('a', 'least=0', 5)]", "[('', 'least=0', '')]",
        "[('a', '', '')]", f"[('{'a' * (MOST_NAME + 1)}', 'least=0', '')]", r"[('a\n', 'least=0', '')]",
        r"[('a', 'least=0', '\x1b[0m')]", f"[('a', 'least=0', '{'a' * (MOST_WHAT + 1)}')]",
    ],
)  # fmt: skip
def test_what_is_no_ablation_is_one_sentence(tmp_path: Path, ablation: str) -> None:
    with pytest.raises(KevacuateError, match="Own: ablation is a list of") as caught:
        parse_policy(own(tmp_path, ablation))
    assert "\n" not in str(caught.value)


def test_a_knob_that_is_none_is_told_when_it_is_taken_apart(tmp_path: Path) -> None:
    policy = parse_policy(own(tmp_path, '[("none", "leest=0", "")]'))
    with pytest.raises(KevacuateError, match="no knob 'leest'"):
        ablation_of(policy)
