# SPDX-License-Identifier: GPL-2.0-or-later
"""What triage advises on a recording: each rule at its limit and one below it, and what the whole command says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from recorded_tools import K, M, U, event, extfrag, proc_snapshot, write_events

import kevacuate
from kevacuate.kernel.gfp import GFP_HIGHUSER_MOVABLE, GFP_TRANSHUGE
from kevacuate.kernel.versions import parse_version
from kevacuate.measure.trustrecord import record
from kevacuate.observe import recordingadvice as advising
from kevacuate.observe.recordingadvice import Facts, advice_of

SECOND = 10**9
ROOT = Path(__file__).resolve().parents[2]


def stalls(**more: Any) -> dict[str, Any]:
    """Stalls in which nothing happened, but for what is given."""
    none = {"count": 0, "failed": 0, "total_ns": 0}
    wakes: dict[str, Any] = {"count": 0, "requests": []}
    return {
        "direct_reclaim": none, "direct_compaction": none, "requests": [], "kswapd_wakes": wakes, "rescans": {},
    } | more  # fmt: skip


def facts(
    version: str = "7.2", settings: dict[str, Any] | None = None, counters: dict[str, int] | None = None,
    recording: str | None = None, **triage: Any,
) -> Facts:  # fmt: skip
    """Facts of a machine on which nothing stands out, but for what is given."""
    told: dict[str, Any] = {
        "verdict": "not fragmenting", "seconds": 60.0, "claims_from_movable": 0, "steals_from_movable": 0,
        "claims_told_from_steals": True, "stalls": stalls(), "snapshots": [], "pageblock_order": 9, "huge_order": 9,
    }  # fmt: skip
    return Facts(told | triage, parse_version(version), settings or {}, counters or {}, recording)


def names(given: Facts) -> list[str]:
    """The rules that hold."""
    return [rule.__name__ for rule in advising.RULES if list(rule(given))]


def mixing(claims: int, steals: int, **more: Any) -> Facts:
    return facts(verdict="fragmenting", claims_from_movable=claims, steals_from_movable=steals, **more)


def compactions(count: int, failed: int, gfp: int = GFP_TRANSHUGE, order: int = 9) -> dict[str, Any]:
    row = {
        "stall": "direct_compaction",
        "order": order,
        "gfp": gfp,
        "count": count,
        "failed": failed,
        "total_ns": 2 * SECOND,
    }
    return stalls(
        requests=[row], direct_compaction={"count": count, "failed": failed, "total_ns": 2 * SECOND}
    )


def reclaims(count: int) -> dict[str, Any]:
    return stalls(direct_reclaim={"count": count, "failed": 0, "total_ns": SECOND})


def scans(inside: int, every: int) -> dict[str, Any]:
    worst = {"first_pfn": 0x1000, "end_pfn": 0x1200, "scans": inside}
    return stalls(rescans={"free pages": {"worst": worst, "scans": every, "scans_in_streaks": inside}})


def wakes(vmalloc: int, others: int) -> dict[str, Any]:
    rows = [{"as_vmalloc": True, "count": vmalloc}, {"as_vmalloc": False, "count": others}]
    return stalls(kswapd_wakes={"count": vmalloc + others, "requests": rows})


def free(pages: int, huge: int) -> list[dict[str, Any]]:
    return [{"free_pages": pages, "huge_pages_free": huge, "unusable_free_index_order": 9}]


HOLDS: tuple[tuple[list[str], Facts], ...] = (
    ([], facts()),
    (["compare_policies", "defrag_mode"], mixing(10, 54)),
    ([], mixing(10, 53)),
    (["defrag_mode"], mixing(9, 55)),
    ([], mixing(9, 55, version="6.14")),
    ([], mixing(9, 55, settings={"defrag_mode": 1})),
    ([], facts(verdict="quiet now", claims_from_movable=100)),
    ([], facts(verdict="mixing, free memory recovers", claims_from_movable=100)),
    (["defrag_mode"], mixing(0, 0, claims_or_steals_from_movable=64, claims_told_from_steals=False)),
    (["boost_off"], mixing(9, 55, version="6.1", settings={"watermark_boost_factor": 0})),
    ([], facts(settings={"watermark_boost_factor": 0})),
    (["huge_page_faults"], facts(stalls=compactions(100, 51))),
    (["huge_page_faults", "proactive"], facts(stalls=compactions(100, 50))),
    (["proactive"], facts(stalls=compactions(100, 49))),
    ([], facts(stalls=compactions(99, 99))),
    ([], facts(stalls=compactions(100, 60, gfp=GFP_HIGHUSER_MOVABLE))),
    ([], facts(stalls=compactions(100, 60, order=4))),
    ([], facts(stalls=compactions(100, 60), counters={"thp_fault_fallback": 1, "thp_fault_alloc": 2})),
    ([], facts(stalls=compactions(100, 49), settings={"compaction_proactiveness": 21})),
    (["proactive"], facts(stalls=compactions(100, 49), settings={"compaction_proactiveness": 0})),
    ([], facts(stalls=compactions(100, 49), version="5.8")),
    (["kswapd_too_late"], facts(stalls=reclaims(60))),
    ([], facts(stalls=reclaims(60), seconds=60.1)),
    ([], facts(stalls=reclaims(59), seconds=1.0)),
    ([], facts(stalls=reclaims(60), version="4.5")),
    (["circles"], facts(stalls=scans(100, 1000))),
    ([], facts(stalls=scans(100, 1001))),
    ([], facts(stalls=scans(99, 99))),
    (["vmalloc_wakes"], facts(stalls=wakes(100, 100))),
    ([], facts(stalls=wakes(100, 101))),
    ([], facts(stalls=wakes(99, 0))),
    (["scattered"], facts(snapshots=free(16 * 512, 0))),
    ([], facts(snapshots=free(16 * 512 - 1, 0))),
    ([], facts(snapshots=free(16 * 512, 1))),
    ([], facts(stalls=None)),
)  # fmt: skip


@pytest.mark.parametrize(("expected", "given"), HOLDS, ids=range(len(HOLDS)))
def test_a_rule_holds_at_its_limit_and_not_below(expected: list[str], given: Facts) -> None:
    assert names(given) == expected


def test_every_rule_is_reached_and_at_most_three_are_given() -> None:
    assert {name for expected, _ in HOLDS for name in expected} == {rule.__name__ for rule in advising.RULES}
    many = mixing(64, 0, stalls=compactions(100, 50) | {"direct_reclaim": reclaims(60)["direct_reclaim"]})
    assert len(names(many)) > advising.MOST_ADVICE == len(advice_of(many))


@pytest.mark.parametrize("given", [given for expected, given in HOLDS if expected])
def test_every_piece_has_evidence_a_source_and_short_sentences(given: Facts) -> None:
    for piece in advice_of(given):
        assert any(map(str.isdigit, piece["evidence"]))
        assert re.match(r"Documentation/", piece["source"])
        for sentence in re.split(
            r"(?<=[.:]) ", re.sub(r"`[^`]*`", "it", f"{piece['do']} {piece['evidence']}")
        ):
            assert len(sentence.split()) <= 25, sentence


def test_policies_are_named_with_what_the_model_is_worth_and_nothing_is_promised() -> None:
    piece = advice_of(mixing(64, 1))[0]
    assert "`sudo kevacuate record --duration 60 -o full.kev`" in piece["do"]
    command = (
        "`kevacuate compare full.kev --policy mainline --policy evacuate --policy evacuate,skip-hint=ignore`"
    )
    assert command in piece["do"]
    total = record().total("closed")
    assert f"of {total.asked} of the model's verdicts {total.right} were" in piece["evidence"]
    assert f"{total.false} false" in piece["evidence"]
    ready = advice_of(mixing(64, 1, recording="my.kev"))[0]["do"]
    assert "record" not in ready
    assert "`kevacuate compare my.kev --policy mainline " in ready


def test_booted_kernels_have_shown_no_effect_on_mixed_pageblocks() -> None:
    """What :func:`worth` says of them: corrected p of every row of mixed blocks is above 0.05."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs/results/kernels.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| mixed blocks")
    ]
    assert len(rows) >= 10
    assert all(float(row[6].removeprefix("<")) > 0.05 for row in rows)


def test_the_command_names_policies_where_claims_stand_out(tmp_path: Path) -> None:
    claims = [extfrag(at * SECOND // 2, 512 * at, U, M, taken=4, own=True) for at in range(1, 119)]
    ends = [event(0, K.COMPACTION_END), event(60 * SECOND, K.COMPACTION_END)]
    path = write_events(
        tmp_path / "light.kev", sorted([*ends, *claims], key=lambda row: row["ts"]),
        events={"kmem/mm_page_alloc_extfrag": ""}, extra={"mode": "light", "settings": {"watermark_boost_factor": 0}},
        snapshots=[proc_snapshot(0, "start", {0: 100, 9: 1}), proc_snapshot(60 * SECOND, "end", {0: 16 * 512})],
    )  # fmt: skip
    found = kevacuate.triage(path)["advice"]
    assert [piece["do"].split(":")[0] for piece in found] == [
        "Compare policies on this machine's demand", "Turn watermark boosting on again",
        "Set vm.defrag_mode to 1 right after boot. What it costs in the model",
    ]  # fmt: skip
    assert found[0]["evidence"].startswith(
        "118 claims of movable pageblocks would have queued an evacuation;"
    )
    among = kevacuate.triage([path, written(tmp_path / "buddyinfo")])
    assert among["advice"][0] == found[0]
    assert len(among["advice"]) == 3


def written(path: Path) -> Path:
    path.write_text("Node 0, zone   Normal 1 2 3 4 5 6 7 8 9 10 11\n")
    return path


def test_a_quiet_recording_gets_no_advice(tmp_path: Path) -> None:
    path = write_events(tmp_path / "q.kev", [event(0, K.MM_PAGE_FREE, 1), event(SECOND, K.MM_PAGE_FREE, 1)])
    assert kevacuate.triage(path)["advice"] == []
