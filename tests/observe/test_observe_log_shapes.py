# SPDX-License-Identifier: GPL-2.0-or-later
"""A report means the same in whatever form its log reaches people; damaged logs of every form give an answer or a sentence."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from log_shapes import SHAPES

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.loglines import messages, plain
from kevacuate.kernelfiles.text import TextFile
from kevacuate.observe.files.kernel_log import answer
from kevacuate.reports.triage.files.kernel_log import words

sys.path.insert(0, str(Path(__file__).parent.parent / "recording"))
from importer_fuzz import damaged


def store(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_every_form_gives_the_same_answer(shape: str, tmp_path: Path) -> None:
    """By hand: 60021 x 4 + 20011 x 8 + 1200 x 16 + 2 x 32 = 419,436 kB, none of it of order 4; index 0.920."""
    found = kevacuate.triage([store(tmp_path / "given", SHAPES[shape])])
    (log,) = found["answers"]
    assert (log["kind"], log["failures"], len(log["groups"])) == ("kernel_log", 1, 1)
    told = log["groups"][0]["example"]
    assert (told["task"], told["pid"], told["order"], told["verdict"]) == ("sh", 20846, 4, "fragmentation")
    assert not told["rules_guessed"]
    (zone,) = told["zones"]
    assert (zone["name"], zone["free_kb"], zone["index"], zone["reasons"]) == (
        "Normal",
        420000,
        920,
        ["no chunk"],
    )
    assert [one["do"] for one in found["advice"]][:1] == [one["do"] for one in log["advice"]][:1]


def test_many_forms_together_are_one_report(tmp_path: Path) -> None:
    """Logs with the time since boot, without, and without any time: the report's figures tell that it is one."""
    files = [TextFile(store(tmp_path / f"log{i}", text)) for i, text in enumerate(SHAPES.values())]
    found = answer(files)
    assert (found["failures"], found["copies"], found["copies_untold"]) == (1, len(SHAPES) - 1, 0)
    random.Random(1).shuffle(files)
    assert answer(files) == found


def test_memory_shown_without_a_report_is_said(tmp_path: Path) -> None:
    text = SHAPES["dmesg"]
    assert isinstance(text, str)
    found = answer([TextFile(store(tmp_path / "log", text.split("\n", 4)[4] + text))])
    assert (found["failures"], found["shown_without_report"]) == (1, 1)
    assert "Memory is shown once without a report: by sysrq, or its first line is lost." in words(found)
    assert answer([TextFile(store(tmp_path / "log", text))])["shown_without_report"] == 0


def test_marks_of_pages_and_colours_are_taken_off() -> None:
    assert (
        plain("\x1b[1;31mNormal:\x1b[0m 9120_4kB\xa0\\(U\\) a\\_b 7\\*8kB")
        == "Normal: 9120*4kB \\(U\\) a_b 7*8kB"
    )
    assert plain("a_b_4kB 3_x") == "a_b_4kB 3_x"


@pytest.mark.parametrize(
    "entry",
    ["[]", "{}", '{"MESSAGE": null}', '{"MESSAGE": [999]}', '{"jsonPayload": 3, "log": {}}', "{" * 9000],
)
def test_odd_entries_are_no_messages(entry: str) -> None:
    assert [line.text for line in messages(entry.encode())] == [entry[:4096].strip()]


@pytest.mark.parametrize("shape", SHAPES)
def test_damaged_logs_of_every_form(shape: str, tmp_path: Path) -> None:
    text = SHAPES[shape]
    whole = text if isinstance(text, bytes) else text.encode()
    draw, path = random.Random(shape), tmp_path / "given"
    for _ in range(15):
        path.write_bytes(damaged(whole, draw))
        try:
            found = answer([TextFile(path)])
        except KevacuateError as error:
            said = str(error)
        else:
            json.dumps(found, allow_nan=False)
            said = words(found).replace("\n", " ")
        assert said
        assert "\n" not in said


def test_lines_that_are_no_report_are_counted_and_a_report_without_zones_says_so(tmp_path: Path) -> None:
    """Lines of public reports: WSL's, Raspberry Pi's, a router's of Linux 2.4, an old Android's."""
    text = (
        "[   78.097095] kworker/0:1: page allocation failure: order:7, mode:0xdc0(GFP_KERNEL|__GFP_ZERO), nodemask=(null)\n"
        "[   88.118053] kworker/0:1: page allocation failure: order:7, mode:0xdc0(GFP_KERNEL|__GFP_ZERO), nodemask=(null)\n"
        "Feb  9 08:09:46 pi kernel: cma: cma_alloc: linux,cma: alloc failed, req-size: 2025 pages, ret: -12\n"
        "Feb  9 08:09:46 pi kernel: [123.4] cma_alloc: alloc failed, req-size: 2025 pages, ret: -12\n"
        "Aug 27 17:20:03 kernel: __alloc_pages: 0-order allocation failed (gfp=0x20/0)\n"
        "[ 99.000000] SLUB: Unable to allocate memory on node -1 (gfp=0x20)\n[ 99.1] lowmemorykiller: Killing 'app' (1234)\n"
    )
    found = answer([TextFile(store(tmp_path / "log", text))])
    assert (found["failures"], found["verdicts"]) == (2, {"not known": 2})
    assert found["other_lines"] == {
        "Linux 2.4, no report": 1, "SLUB unable to allocate": 1, "cma_alloc failed": 2, "lowmemorykiller": 1,
    }  # fmt: skip
    said = words(found)
    assert (
        "without a report: Linux 2.4, no report: 1, SLUB unable to allocate: 1, cma_alloc failed: 2" in said
    )
    assert "The log shows no zone of it" in said
    assert "mixed" not in said
