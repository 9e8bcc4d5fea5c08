# SPDX-License-Identifier: GPL-2.0-or-later
"""The package as scripts use it: errors of the one kind for wrong arguments, defaults as the command's, short representations."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import kevacuate
from kevacuate import KevacuateError, Machine, Recording, ReplayOptions, compare
from kevacuate.cli.options import repeats_of
from kevacuate.errors import whole_number
from kevacuate.measure.saved import save_comparison
from kevacuate.runs.replay import replay


@pytest.fixture(scope="module")
def small() -> Machine:
    return Machine(pages=256, pageblock_order=6, cpus=2)


WRONG: dict[str, tuple[Callable[[Machine], Any], str]] = {
    "order": (lambda m: m.alloc(order=8), "order cannot be 8: it is a whole number, from 0 to 7"),
    "negative order": (lambda m: m.alloc(order=-1), "order cannot be -1"),
    "order of another type": (lambda m: m.alloc(order="0"), "order cannot be '0'"),
    "cpu": (lambda m: m.alloc(cpu=2), "cpu cannot be 2: it is a whole number, from 0 to 1"),
    "kind": (lambda m: m.alloc("huge"), "There is no kind of page 'huge'"),
    "attribute": (lambda m: m.alloc(mapped=True), "There is no page attribute 'mapped'"),
    "block": (lambda m: m.block(4), "block cannot be 4: it is a whole number, from 0 to 3"),
    "negative block": (lambda m: m.block(-1), "block cannot be -1"),
    "free a number": (lambda m: m.free(5), "5 is no chunk: give what"),
    "free another machine's": (
        lambda m: m.free(Machine(64, pageblock_order=6).alloc()),
        "is another machine's",
    ),
    "free on a CPU": (lambda m: m.free(m.alloc(), cpu=9), "cpu cannot be 9"),
    "time": (lambda m: m.run(-1), "ns cannot be -1"),
    "compact": (lambda m: m.compact(99), "order cannot be 99"),
    "pages": (
        lambda m: Machine(pages=513),
        "pages cannot be 513: it is a whole number of pageblocks, of 512 pages each",
    ),
    "no pages": (lambda m: Machine(pages=0), "pages cannot be 0"),
    "pages as text": (lambda m: Machine(pages="512"), "pages cannot be '512'"),
    "cpus": (lambda m: Machine(cpus=0), "cpus cannot be 0"),
    "pageblock order": (lambda m: Machine(pageblock_order=14), "pageblock_order cannot be 14"),
    "watermarks": (lambda m: Machine(min_free_kbytes=-1), "min_free_kbytes cannot be -1"),
    "knob": (lambda m: Machine(pol=3), "There is no knob 'pol': it is one of"),
    "knob's value": (lambda m: Machine(pool="many"), "pool cannot be 'many'"),
    "workqueue": (lambda m: Machine(wq="per_zone"), "wq is per_cpu or per_node"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_machine_refuses_in_words(small: Machine, name: str) -> None:
    call, said = WRONG[name]
    before = repr(small)
    with pytest.raises(KevacuateError) as caught:
        call(small)
    assert said in str(caught.value)
    assert name == "free on a CPU" or repr(small) == before


def test_a_machine_says_what_it_is() -> None:
    machine = Machine(pages=256, pageblock_order=6, cpus=2)
    assert repr(machine) == "<Machine of 256 pages in 4 pageblocks, 2 CPUs: 256 pages free>"
    chunk = machine.alloc(order=6)
    assert chunk is not None
    assert repr(machine) == "<Machine of 256 pages in 4 pageblocks, 2 CPUs: 192 pages free>"
    assert machine.alloc(order=7) is not None
    assert machine.alloc(order=7) is None, "there are none left, which is no error"
    one = Machine(pages=64, pageblock_order=6)
    assert repr(one) == "<Machine of 64 pages in 1 pageblock, 1 CPU: 64 pages free>"
    assert [one.alloc(order=n) is not None for n in range(6)] == [True] * 6
    assert repr(one) == "<Machine of 64 pages in 1 pageblock, 1 CPU: 1 page free>"


@pytest.mark.parametrize("path", [5, None, 1.5, b"x", ["x"]])
def test_what_is_no_path(path: Any) -> None:
    functions = (Recording.open, kevacuate.build_demand, kevacuate.verify)
    for function in functions:
        with pytest.raises(KevacuateError, match="is no path: name the recording"):
            function(path)
    for call in (lambda: compare(path, "mainline"), lambda: kevacuate.explain(path, "block:0")):
        with pytest.raises(KevacuateError, match="is no path: name the recording"):
            call()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"repeats": "2"}, "repeats cannot be '2': it is a whole number, at least 1"),
        ({"repeats": 0}, "repeats cannot be 0"),
        ({"repeats": True}, "repeats cannot be True"),
        ({"workers": 1.5}, "workers cannot be 1.5"),
        ({"seed": "0"}, "seed of a replay cannot be '0'"),
        ({"seed": -1}, "seed of a replay cannot be -1"),
    ],
)
def test_what_is_no_number(synthetic_kev: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(KevacuateError, match=said):
        compare(synthetic_kev, "mainline", **arguments)


@pytest.mark.parametrize("policies", [5, [5], [None], {"mainline": 1}.values()])
def test_what_is_no_policy(synthetic_kev: Path, policies: Any) -> None:
    with pytest.raises(KevacuateError, match="is no policy: write NAME"):
        compare(synthetic_kev, policies)


def test_a_single_level_is_a_level() -> None:
    with pytest.raises(KevacuateError, match="There is no level 'buddi'"):
        kevacuate.verify(Recording.shipped(), "buddi")


def test_a_single_policy_is_one_and_a_seed_is_taken(synthetic_kev: Path) -> None:
    made = compare(synthetic_kev, "mainline", repeats=2, seed=3)
    assert [run.seed for run in made.runs] == [3, 4]
    again = compare(
        synthetic_kev, [kevacuate.parse_policy("mainline")], repeats=2, options=ReplayOptions(seed=3)
    )
    assert made.runs == again.runs
    assert repr(made.runs[0]).startswith("<Run of 'mainline', seed 3, ")
    assert repr(made.runs[0]).endswith(" mixed pageblocks at the end>")
    assert repr(made).endswith("runs of mainline (2)>")
    assert replay(Recording.open(synthetic_kev), options=ReplayOptions(seed=3)) == made.runs[0]


def test_the_library_repeats_as_the_command_does(synthetic_kev: Path) -> None:
    """Where the command is given neither a number nor a time it takes its own; a library's caller gets the number."""
    assert inspect.signature(compare).parameters["repeats"].default is None
    assert len(compare(synthetic_kev, "mainline").runs) == repeats_of(None) == 5


def test_short_representations(synthetic_kev: Path) -> None:
    recording = Recording.open(synthetic_kev)
    assert recording.start is not None
    things = [recording, recording.start, kevacuate.build_demand(recording)]
    assert all(len(repr(thing)) < 200 for thing in things)
    assert repr(things[1]).startswith("<AllocatorState ")
    assert repr(things[2]).startswith("<Demand: ")


def test_stories_from_the_package(synthetic_kev: Path) -> None:
    (story,) = kevacuate.explain(synthetic_kev, "block:2", "mainline", seed=1)
    assert isinstance(story, kevacuate.Story)
    assert story.source == "mainline"
    assert [one.source for one in kevacuate.explain(synthetic_kev, "0x400")] == ["mainline", "evacuate"]
    with pytest.raises(KevacuateError, match="is neither a page nor a pageblock"):
        kevacuate.explain(synthetic_kev, "block:x")


def test_a_triage_from_the_package(synthetic_kev: Path) -> None:
    assert kevacuate.triage(synthetic_kev)["name"] == synthetic_kev.name
    with pytest.raises(KevacuateError, match="nothing to triage"):
        kevacuate.triage(Recording.shipped())


def test_a_page_from_the_package(synthetic_kev: Path, tmp_path: Path) -> None:
    options = ReplayOptions(keep=True)
    made = compare(synthetic_kev, "mainline", repeats=1, options=options)
    page = kevacuate.report(made, tmp_path / "a.html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert kevacuate.report(synthetic_kev, tmp_path / "b.html", recorded=True).stat().st_size > 10_000
    save_comparison(tmp_path / "a.kevc", made)
    kept = kevacuate.report([tmp_path / "a.kevc"], tmp_path / "c.html")
    assert kept.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
    with pytest.raises(KevacuateError, match="is a saved result"):
        kevacuate.report(tmp_path / "a.kevc", tmp_path / "d.html", "mainline")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_snapshot_from_the_package() -> None:
    if not Path("/proc/kpageflags").exists():
        pytest.skip("needs /proc/kpageflags")
    assert isinstance(kevacuate.snapshot(), kevacuate.Survey)


def test_what_the_package_shows() -> None:
    assert dir(kevacuate) == sorted(kevacuate.__all__)
    assert files("kevacuate").joinpath("py.typed").is_file()


@pytest.mark.parametrize("value", [True, "1", 1.0, None, 0, 4])
def test_whole_numbers(value: Any) -> None:
    with pytest.raises(KevacuateError, match=r"x cannot be .*: it is a whole number, from 1 to 3"):
        whole_number("x", value, 1, 3)


@pytest.mark.parametrize("name", ["\0", "a" * 300, b"x", 3, None])
def test_what_no_file_can_be_called(synthetic_kev: Path, tmp_path: Path, name: Any) -> None:
    """Refused before any work, and nothing is left of it."""
    result = kevacuate.compare(synthetic_kev, "mainline", repeats=1)
    trace = tmp_path / "trace.txt"
    trace.write_text("nothing\n")
    called: list[Callable[[], object]] = [
        lambda: kevacuate.import_recording(trace, name),
        lambda: kevacuate.import_recording(name, tmp_path / "out.kev"),
        lambda: kevacuate.snapshot(vmcore=name or 0),  # type: ignore[call-overload]  # (None is this machine)
        lambda: kevacuate.record(name, duration=1),
        lambda: kevacuate.save(result, name),
        lambda: kevacuate.load(name),
        lambda: kevacuate.report(result, name),
        lambda: kevacuate.report(name, tmp_path / "out.html"),
        lambda: kevacuate.export(synthetic_kev, name),
    ]
    for call in called:
        with pytest.raises(KevacuateError, match=r"is no path|too long"):
            call()
    assert os.listdir(tmp_path) == ["trace.txt"]


@pytest.mark.parametrize("what", ["result.kevc", None, 3, ["mainline"]])
def test_what_is_no_result(what: Any) -> None:
    for takes in (kevacuate.summary, kevacuate.conclusion):
        with pytest.raises(KevacuateError, match=r"is no comparison: give what kevacuate\.compare returned"):
            takes(what)
    plot = kevacuate.plot
    for draws in (
        plot.bars,
        plot.flow,
        plot.flows,
        plot.pageblock_map,
        plot.pageblock_maps,
        plot.timeline,
        plot.timelines,
    ):
        with pytest.raises(KevacuateError, match=r"is no run: give what kevacuate\.replay returned"):
            draws(what)


def test_no_level_is_not_all_of_them(synthetic_kev: Path) -> None:
    with pytest.raises(KevacuateError, match="levels is empty"):
        kevacuate.verify(synthetic_kev, [])


@pytest.mark.parametrize("given", [5, None, 1.5, b"x", [5], ["x", None], []])
def test_what_triage_cannot_read(given: Any) -> None:
    with pytest.raises(KevacuateError, match=r"is no path: name the file|does not exist|nothing was given"):
        kevacuate.triage(given)
