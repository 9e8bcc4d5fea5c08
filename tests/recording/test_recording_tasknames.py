# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of tasks, out of texts and out of trace.dat."""

import lzma
import struct
from pathlib import Path

import pytest
from recording.tracedat_maker import pack, take_apart

from kevacuate.recording import Recording
from kevacuate.recording.importers import import_recording, tasknames
from kevacuate.recording.importers.tasknames import LONGEST_NAME, TaskNames

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("          video-", "video"), ("kworker/u8:3-", "kworker/u8:3"), ("a-b 7-", "a-b 7"), ("Web Content  ", "Web Content"),
        ("perf  12/", "perf"), ("java -1/", "java"), ("> > bash-", "bash"), ("x" * 90 + "-", "x" * LONGEST_NAME),
    ],
)  # fmt: skip
def test_what_stands_before_a_process_id(before: str, name: str) -> None:
    names = TaskNames()
    names.add(7, before)
    assert names.to_json() == {"7": name}


def test_the_last_name_counts_and_no_name_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    names = TaskNames()
    for pid, before in ((7, "bash-"), (7, "gcc-"), (8, "<...>-"), (0, "x-"), (9, "-")):
        names.add(pid, before)
    assert names.to_json() == {"7": "gcc"}
    monkeypatch.setattr(tasknames, "MOST_NAMES", 3)
    for pid in range(20, 40):
        names.add(pid, f"t{pid}-")
    assert len(names._before) == 3
    table = TaskNames()
    table.table("12 Xorg\n13 a b\n\nnonsense\n99999999999 x\n")
    assert table.to_json() == {"12": "Xorg", "13": "a b"}


def test_a_text_keeps_its_names_beside_the_ids(tmp_path: Path) -> None:
    source = DATA / "text" / "perf.txt.xz"
    import_recording(source, tmp_path / "a.kev")
    assert Recording.open(tmp_path / "a.kev").quality["tasks"] == {
        "21857": "python",
        "21881": "perf",
        "21883": "true",
    }
    import_recording(source, tmp_path / "b.kev", pids=False)
    assert "tasks" not in Recording.open(tmp_path / "b.kev").quality


@pytest.mark.parametrize("codec", ["none", "zlib"])
def test_a_trace_dat_keeps_its_names(codec: str, tmp_path: Path) -> None:
    parts = take_apart((DATA / "trace-cmd" / "live.v7.dat").read_bytes())
    text = b"20037 python\n21724 bash\n"
    parts.sections[21] = struct.pack("<Q", len(text)) + text
    (tmp_path / "x.dat").write_bytes(pack(parts, codec))
    import_recording(tmp_path / "x.dat", tmp_path / "x.kev")
    assert Recording.open(tmp_path / "x.kev").quality["tasks"] == {"20037": "python", "21724": "bash"}


def test_a_trace_dat_of_version_6_keeps_its_names(tmp_path: Path) -> None:
    data = lzma.decompress((DATA / "trace-cmd" / "live.v6.dat.xz").read_bytes())
    text = b"20037 python\n"
    at = data.index(struct.pack("<QI", 0, 2) + b"options  \0")  # no names, two CPUs
    gap = data.index(b"[local]", data.index(b"flyrecord\0")) + 7
    # Zeros follow, up to the first CPU's data, which stay in place.
    assert not any(data[gap : gap + len(text)])
    names = struct.pack("<Q", len(text)) + text
    (tmp_path / "x.dat").write_bytes(data[:at] + names + data[at + 8 : gap] + data[gap + len(text) :])
    import_recording(tmp_path / "x.dat", tmp_path / "x.kev")
    assert Recording.open(tmp_path / "x.kev").quality["tasks"] == {"20037": "python"}


@pytest.mark.parametrize(
    ("before", "name"),
    [
        ("[  601.000020] kswapd0-", "kswapd0"),
        ("<4>[  601.000020][  T61] kswapd0-", "kswapd0"),
        ("Nov 14 03:12:09 server1 kernel: kswapd0-", "kswapd0"),
        ("Nov 14 03:12:09 server1 kernel: [  601.000020]     bash-", "bash"),
        ("> [  601.000020] kworker/1:2-events-", "kworker/1:2-events"),
        ("[kthreadd]-", "[kthreadd]"),
        ("[1.5]-", "[1.5]"),
    ],
)
def test_what_a_kernel_log_puts_before_a_line_is_no_name(before: str, name: str) -> None:
    names = TaskNames()
    names.add(61, before)
    assert names.to_json() == {"61": name}
