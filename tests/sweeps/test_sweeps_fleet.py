# SPDX-License-Identifier: GPL-2.0-or-later
"""Many machines' recordings side by side: sheets, clusters of alike ones, and the three to record in full."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_tools import light_recordings

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.measure.triage import NOT_FRAGMENTING, SPREADING
from kevacuate.reports.sweeps.fleet import fleet_json, fleet_words, record_line, requester_words
from kevacuate.sweeps.alike import alike
from kevacuate.sweeps.fleet import Machine, clusters_of, picks_of
from kevacuate.sweeps.searched import recordings_of
from kevacuate.sweeps.sheets import FRAGMENTING, RATES, SHARES, sheet_of, vectors

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve light recordings made of two real ones, and one that is corrupted."""
    base = tmp_path_factory.mktemp("fleet")
    made = list(light_recordings(base, [DATA / "two-cpus.kev", DATA / "one-cpu.kev"], 12))
    shutil.copytree(made[0], base / "broken.kev")
    (base / "broken.kev" / "machine.json").write_text("{}")
    return base


@pytest.fixture(scope="module")
def found(directory: Path) -> kevacuate.Fleet:
    return kevacuate.fleet(directory, workers=2)


def test_every_machine_has_the_sheet_of_its_own_triage(directory: Path, found: kevacuate.Fleet) -> None:
    assert len(found.machines) == 12
    assert list(found.refused) == ["broken.kev"]
    for one in (found.machines[0], found.machines[-1]):
        triage = kevacuate.triage(one.path)
        assert one.sheet == json.loads(json.dumps(sheet_of(triage)))
        assert one.fragments == (triage["verdict"] in FRAGMENTING)
    rates = [one.mixing for one in found.machines]
    assert rates == sorted(rates, reverse=True)
    assert found.machines[0].name.startswith("rack"), "names begin where all recordings lie"


def test_the_answer_does_not_depend_on_who_reads_it(directory: Path, found: kevacuate.Fleet) -> None:
    again = kevacuate.fleet([str(directory / "rack*"), directory / "broken.kev"], workers=1)
    assert fleet_json(again) == fleet_json(found)


def test_clusters_are_all_machines_once(found: kevacuate.Fleet) -> None:
    members = [one.name for cluster in found.clusters for one in cluster.machines]
    assert sorted(members) == sorted(one.name for one in found.machines)
    sizes = [len(cluster.machines) for cluster in found.clusters]
    assert sizes == sorted(sizes, reverse=True)


def sheet(mixing: float, verdict: str = SPREADING, **more: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys((*RATES, *SHARES)),
        "verdict": verdict,
        "mixing": mixing,
        "seconds": 3600.0,
        "requesters": [{"type": "unmovable", "order": 0, "gfp": None, "mixing": mixing}],
        "tasks": [],
        **more,
    }


def machines(*groups: tuple[int, dict[str, Any]]) -> list[Machine]:
    made: list[Machine] = []
    for count, one in groups:
        made += [Machine(f"m{len(made) + i:03d}", Path(f"/m{len(made) + i:03d}"), one) for i in range(count)]
    return made


def test_machines_that_differ_are_told_apart_and_three_stand_for_the_most() -> None:
    fleet = machines(
        (50, sheet(0.0, NOT_FRAGMENTING, compactions=0.0)),
        (20, sheet(100.0, late=0.3, compactions=0.0)),
        (5, sheet(9000.0, late=0.3, compactions=0.0)),
        (3, sheet(100.0, late=0.3, compactions=50_000.0)),
        (1, sheet(40.0, reclaimable=1.0, late=1.0, compactions=0.0)),
    )
    clusters = clusters_of(fleet)
    assert [len(one.machines) for one in clusters] == [50, 20, 5, 3, 1]
    picks = picks_of(clusters)
    assert [pick.machine.sheet["mixing"] for pick in picks] == [9000.0, 100.0, 100.0]
    assert [pick.stands_for for pick in picks] == [4, 19, 2]
    assert picks[0].share == pytest.approx(45_000 / (45_000 + 2000 + 300 + 40))


def test_with_fewer_clusters_those_that_mix_most_follow() -> None:
    clusters = clusters_of(machines((4, sheet(10.0)), (2, sheet(0.0, NOT_FRAGMENTING)), (1, sheet(12.0))))
    picks = picks_of(clusters)
    assert len(picks) == 3
    assert [pick.stands_for for pick in picks[1:]] == [0, 0]
    assert picks_of(clusters_of(machines((5, sheet(0.0, NOT_FRAGMENTING))))) == ()


def test_what_is_not_known_sets_nobody_apart() -> None:
    sheets = [sheet(10.0, unusable=0.9), sheet(10.0, unusable=0.9), sheet(10.0)]
    points = vectors(sheets)
    assert (points[0] == points[2]).all()
    ten = vectors([sheet(9.0), sheet(99.0)])
    assert np.abs(ten[0] - ten[1]).max() == pytest.approx(1.0), "a factor of ten is a distance of 1"


def test_groups_are_within_the_radius_unless_there_would_be_too_many() -> None:
    rng = np.random.default_rng(2)
    middles = rng.uniform(0, 40, (6, 3))
    points = np.concatenate([middle + rng.normal(0, 0.05, (30, 3)) for middle in middles])
    groups = alike(points)
    assert len(groups) == 6
    for centre, members in groups:
        assert len({member // 30 for member in members}) == 1
        assert np.sqrt(((points[members] - points[centre]) ** 2).sum(axis=1)).max() <= 0.75
    order = rng.permutation(len(points))
    turned = alike(points[order])
    as_sets = {frozenset(members) for _, members in groups}
    assert {frozenset(order[members].tolist()) for _, members in turned} == as_sets
    assert len(alike(rng.uniform(0, 100, (200, 3)))) == 12
    assert alike(np.empty((0, 3))) == []


def test_words_and_json(found: kevacuate.Fleet) -> None:
    said = fleet_words(found)
    assert any("recording was refused; of broken.kev it is said: " in line for line in said)
    assert any(line.startswith("  ") and "sudo kevacuate record" in line for line in said)
    told = json.loads(json.dumps(fleet_json(found)))
    fragmenting = sum(one["fragments"] for one in told["machines"])
    assert fragmenting
    assert len(told["picks"]) == min(3, fragmenting)
    assert told["clusters"][0]["medians"].keys() == {*RATES, *SHARES}
    assert sum(len(cluster["machines"]) for cluster in told["clusters"]) == 12


def test_names_become_files_and_requesters_words() -> None:
    one = Machine("rack 1/host.kev", Path("x"), {})
    assert record_line(one) == "sudo kevacuate record --duration 60 -o 'rack 1-host-full.kev'"
    assert requester_words({"type": "unmovable", "order": 3, "gfp": None}) == "unmovable, order 3"


def test_what_holds_no_recording_is_refused(tmp_path: Path, directory: Path) -> None:
    (tmp_path / "file").write_text("no recording")
    for given in (tmp_path, tmp_path / "none", tmp_path / "file", str(tmp_path / "*.kev")):
        with pytest.raises(KevacuateError, match="holds no recording: name a directory of recordings"):
            recordings_of([given])
    with pytest.raises(KevacuateError, match=r"None of 1 recordings can be triaged; of broken\.kev"):
        kevacuate.fleet(directory / "broken.kev")


def test_a_recording_counts_once_however_many_paths_lead_to_it(directory: Path, tmp_path: Path) -> None:
    whole, nothing = recordings_of([directory])
    (tmp_path / "link").symlink_to(whole[0])
    (tmp_path / "circle").symlink_to(tmp_path)
    given = [directory, directory / ".." / directory.name, tmp_path, str(directory / "rack0*")]
    assert len(recordings_of(given)[0]) == len(whole) == 13
    assert not nothing
    assert recordings_of([tmp_path])[0] == [tmp_path / "link"]


def test_what_cannot_be_searched_is_named(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.listdir

    def listed(path: Any) -> list[str]:
        if Path(path).name == "rack03":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listed)
    found = kevacuate.fleet(directory, workers=1)
    assert found.refused["rack03"] == "It cannot be searched: Permission denied."
    assert len(found.machines) == 11
    with pytest.raises(KevacuateError, match=r"rack03: It cannot be searched: Permission denied\."):
        recordings_of([directory / "rack03"])


@pytest.mark.parametrize("there", [True, False])
def test_dask_gives_the_same_answer(
    directory: Path, found: kevacuate.Fleet, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    distributed = pytest.importorskip("distributed")
    from kevacuate.sweeps import dasktask, fleetdask

    sent = []
    real = fleetdask.files_of
    monkeypatch.setattr(fleetdask, "files_of", lambda source: sent.append(source.path) or real(source))
    if not there:
        monkeypatch.setattr(dasktask, "mark_of", lambda path: "of another recording")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        other = kevacuate.fleet(directory, scheduler=cluster.scheduler_address)
    assert fleet_json(other) == fleet_json(found)
    assert len(sent) == len(set(sent)) == (0 if there else 13)
    with pytest.raises(KevacuateError, match="give no workers beside it"):
        kevacuate.fleet(directory, scheduler="tcp://127.0.0.1:9", workers=2)


def test_a_recording_that_kills_its_readers_is_refused(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'kevacuate.sweeps.fleetworker' in ' '.join(sys.orig_argv):\n"
        "    import os, kevacuate.observe.triage as t\n"
        "    real = t.triage_recording\n"
        "    t.triage_recording = lambda r: os.abort() if 'host0003' in str(r.path) else real(r)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = kevacuate.fleet(directory, workers=1)
    assert len(found.machines) == 11
    (name,) = [one for one in found.refused if "host0003" in one]
    assert found.refused[name] == "The process that read it was killed by SIGABRT."
