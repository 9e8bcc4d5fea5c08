# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs of the library: their examples run, they say what they take and raise, and wrong arguments are one sentence."""

from __future__ import annotations

import doctest
import inspect
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kevacuate
from kevacuate import KevacuateError

DATA = Path(__file__).parent / "data"
VERBS = (
    "record", "open", "info", "triage", "triage_live", "snapshot", "replay", "compare", "compare_recorded", "verify", "explain",
    "report", "load", "save", "import_recording", "export", "doctor", "tune", "ablate", "generate", "fit",
    "scale", "start_state", "save_start",
)  # fmt: skip
WITHOUT_EXAMPLE = {"import_recording"}
ROOT = doctest.register_optionflag("ROOT")


def can_record() -> bool:
    """Whether this machine lets the tests record it."""
    from kevacuate.capture.doctor import possible

    return os.geteuid() == 0 and Path("/proc/kpageflags").exists() and possible(kevacuate.doctor())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the recordings that the examples name."""
    for name in ("my-server.kev", "one-cpu.kev"):
        shutil.copytree(DATA / "one-cpu.kev", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examples(name: str) -> list[doctest.Example]:
    """The examples of a verb's docstring."""
    text = inspect.getdoc(getattr(kevacuate, name)) or ""
    return doctest.DocTestParser().get_examples(text, name)


@pytest.mark.parametrize("name", [name for name in VERBS if name not in WITHOUT_EXAMPLE])
def test_the_example_of_a_verb_runs(name: str, here: Path) -> None:
    found = examples(name)
    assert found
    if any(ROOT in one.options for one in found) and not can_record():
        pytest.skip("needs root and tracefs")
    test = doctest.DocTest(found, {}, name, None, None, None)
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert result.failed == 0, "".join(said)
    assert result.attempted == len(found)


def test_an_example_that_is_wrong_is_found() -> None:
    test = doctest.DocTest(
        doctest.DocTestParser().get_examples(">>> 1 + 1\n3\n"), {}, "wrong", None, None, None
    )
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_says_what_it_takes_returns_and_raises(name: str) -> None:
    verb = getattr(kevacuate, name)
    text = inspect.getdoc(verb) or ""
    assert "Returns\n-------" in text
    assert "Raises\n------" in text or name == "doctor"
    for parameter in inspect.signature(verb).parameters:
        assert f"{parameter} :" in text or f"{parameter}, " in text or f", {parameter} :" in text, parameter
    hints = inspect.get_annotations(verb)
    assert set(inspect.signature(verb).parameters) | {"return"} <= set(hints)


WRONG: dict[str, Callable[[], Any]] = {
    "open a number": lambda: kevacuate.open(5),  # type: ignore[arg-type]
    "open nothing": lambda: kevacuate.open("absent.kev"),
    "info of a number": lambda: kevacuate.info(1.5),  # type: ignore[arg-type]
    "info of nothing": lambda: kevacuate.info("absent.kev"),
    "triage of bytes": lambda: kevacuate.triage(b"my-server.kev"),  # type: ignore[arg-type]
    "snapshot of two": lambda: kevacuate.snapshot("vmcore", kcore=True),  # type: ignore[call-overload]
    "snapshot of a number": lambda: kevacuate.snapshot(7),  # type: ignore[call-overload]
    "snapshot with symbols alone": lambda: kevacuate.snapshot(vmlinux="vmlinux"),  # type: ignore[call-overload]
    "replay of a number": lambda: kevacuate.replay(3),  # type: ignore[arg-type]
    "replay under a number": lambda: kevacuate.replay("my-server.kev", 3),  # type: ignore[arg-type]
    "replay under no policy": lambda: kevacuate.replay("my-server.kev", "nothing"),
    "replay with a knob": lambda: kevacuate.replay("my-server.kev", "mainline,pool=3"),
    "replay with a seed": lambda: kevacuate.replay("my-server.kev", seed="x"),  # type: ignore[arg-type]
    "replay with options": lambda: kevacuate.replay("my-server.kev", options={"seed": 3}),  # type: ignore[arg-type]
    "replay with a demand": lambda: kevacuate.replay("my-server.kev", demand=[1]),  # type: ignore[arg-type]
    "compare with options": lambda: kevacuate.compare("my-server.kev", "mainline", options=None),  # type: ignore[arg-type]
    "compare without policies": lambda: kevacuate.compare("my-server.kev", []),
    "compare one recording": lambda: kevacuate.compare_recorded([["my-server.kev"]]),
    "compare a number of recordings": lambda: kevacuate.compare_recorded(2),  # type: ignore[arg-type]
    "compare an empty group": lambda: kevacuate.compare_recorded([["my-server.kev"], []]),
    "tune a number": lambda: kevacuate.tune(3),  # type: ignore[arg-type]
    "tune a word": lambda: kevacuate.tune("my-server.kev", settings="defrag_mode=1"),
    "tune no setting": lambda: kevacuate.tune("my-server.kev", settings=["defrag_mode=2"]),
    "tune too little": lambda: kevacuate.tune("my-server.kev", repeats=2),
    "ablate a number": lambda: kevacuate.ablate(3),  # type: ignore[arg-type]
    "ablate a word": lambda: kevacuate.ablate("my-server.kev", variants="pool=0"),
    "ablate no variant": lambda: kevacuate.ablate("my-server.kev", variants=["pool=x"]),
    "ablate mainline": lambda: kevacuate.ablate("my-server.kev", "mainline"),
    "ablate too little": lambda: kevacuate.ablate("my-server.kev", repeats=2),
    "compare for a word": lambda: kevacuate.compare("my-server.kev", "mainline", seconds="15s"),  # type: ignore[arg-type]
    "verify no level": lambda: kevacuate.verify("my-server.kev", "budy"),
    "verify levels": lambda: kevacuate.verify("my-server.kev", 3),  # type: ignore[arg-type]
    "verify replays": lambda: kevacuate.verify("my-server.kev", replays="2"),  # type: ignore[arg-type]
    "verify no replays": lambda: kevacuate.verify("my-server.kev", replays=0),
    "verify a number for a table": lambda: kevacuate.verify("my-server.kev", repeats_table=3),  # type: ignore[arg-type]
    "explain a number": lambda: kevacuate.explain("my-server.kev", 1.5),  # type: ignore[arg-type]
    "explain no block": lambda: kevacuate.explain("my-server.kev", "block:99999999"),
    "report a number": lambda: kevacuate.report(5, "x.html"),  # type: ignore[arg-type]
    "report into a number": lambda: kevacuate.report("my-server.kev", 5),  # type: ignore[arg-type]
    "report of two recordings": lambda: kevacuate.report(["my-server.kev", "one-cpu.kev"], "x.html"),
    "report nothing": lambda: kevacuate.report([], "x.html"),
    "report no recording": lambda: kevacuate.report((), "x.html", recorded=True),
    "load a number": lambda: kevacuate.load(5),  # type: ignore[arg-type]
    "load nothing": lambda: kevacuate.load("absent"),
    "load a directory": lambda: kevacuate.load("my-server.kev"),
    "save a number": lambda: kevacuate.save(5, "x.kevc"),  # type: ignore[arg-type]
    "import nothing": lambda: kevacuate.import_recording("absent", "x.kev"),
    "export in no format": lambda: kevacuate.export("my-server.kev", "x", "csv"),
    "export with policies": lambda: kevacuate.export("my-server.kev", "x", "ftrace", "mainline"),
    "export into a number": lambda: kevacuate.export("my-server.kev", 5),  # type: ignore[arg-type]
    "record into a number": lambda: kevacuate.record(5),  # type: ignore[arg-type]
    "record for a word": lambda: kevacuate.record("x.kev", duration="long"),  # type: ignore[arg-type]
    "record for ever": lambda: kevacuate.record("x.kev", duration=float("inf")),
    "record a line": lambda: kevacuate.record("x.kev", command="make -j8"),
    "record into little": lambda: kevacuate.record("x.kev", buffer="8"),
    "record a size": lambda: kevacuate.record("x.kev", max_size="much"),
    "triage for no time": lambda: kevacuate.triage_live(0),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_one_clear_sentence(name: str, here: Path) -> None:
    before = {path.name for path in here.iterdir()}
    with pytest.raises(KevacuateError) as caught:
        WRONG[name]()
    said = str(caught.value)
    assert said.endswith(".")
    assert "\n" not in said
    assert {path.name for path in here.iterdir()} == before, "nothing is left behind"
