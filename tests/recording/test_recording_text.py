# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace text: every dialect gives the events that the same trace's raw data give."""

import io
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recording_tracedat import equal, events_of
from tracedat_maker import DATA

from kevacuate.errors import KevacuateError
from kevacuate.recording import EventChunk, EventKind, KevWriter, Recording
from kevacuate.recording.eventtext import SYMBOLS
from kevacuate.recording.gfptext import gfp_text, gfp_value
from kevacuate.recording.importers import ImportOptions, import_recording, open_source
from kevacuate.recording.importers.registry import text_dialect
from kevacuate.recording.importers.source import machine_of
from kevacuate.recording.importers.tracedat import TraceDat
from kevacuate.recording.possible import _PFNS
from kevacuate.recording.quality import events_only
from kevacuate.recording.schema import COLUMN_TYPES, GFP_MASK, VALUE_COLUMNS, concat_chunks
from kevacuate.reports.ftrace import write_ftrace

HERE = Path(__file__).parent.parent / "data" / "text"
NOT_PRINTED = {int(EventKind.VMSCAN_KSWAPD_WAKE), int(EventKind.VMSCAN_WAKEUP_KSWAPD)}


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The format files of Linux 7.2, out of the shipped trace.dat."""
    directory = tmp_path_factory.mktemp("formats")
    for name, text in TraceDat(DATA / "rich.v7.dat", ImportOptions()).machine().events.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    return directory


def columns(chunk: EventChunk, **changed: object) -> EventChunk:
    """The events with other columns."""
    return chunk._replace(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["report", "text"])
@pytest.mark.parametrize("name", ["live", "rich"])
def test_text_of_trace_cmd_report(formats: Path, name: str, kind: str) -> None:
    wanted = events_of(DATA / f"{name}.v7.dat")
    read = events_of(DATA / f"{name}.{kind}.xz", formats=formats if name == "rich" else None)
    if kind == "text":
        hidden = np.isin(wanted.kind, list(NOT_PRINTED))
        wanted = columns(wanted, b=np.where(hidden, -1, wanted.b))
    assert equal(read, wanted)


@pytest.mark.parametrize(
    ("name", "form", "digits"),
    [
        ("trace", "ftrace text", 6),
        ("trace-tgid", "ftrace text", 6),
        ("trace-fields", "ftrace text", 6),
        ("trace-latency", "ftrace text, latency format with relative times", 6),
        ("report-latency", "ftrace text, latency format", 9),
        ("report-instance", "ftrace text", 6),
    ],
)
def test_the_same_trace_in_every_dialect(name: str, form: str, digits: int) -> None:
    source = open_source(HERE / f"{name}.txt.xz")
    read = concat_chunks(list(source.events()))
    wanted = concat_chunks(list(open_source(HERE / "report-raw.txt.xz").events()))
    assert source.form == form
    assert read.rows == wanted.rows > 100
    for column in ("cpu", "pid", "kind", *VALUE_COLUMNS):
        assert np.array_equal(getattr(read, column), getattr(wanted, column)), column
    if form.endswith("relative times"):
        assert np.abs(np.diff(read.ts) - np.diff(wanted.ts)).max() <= 1000
    else:
        unit = 10 ** (9 - digits)  # the kernel and trace-cmd round, perf cuts off
        assert np.array_equal(read.ts, (wanted.ts + unit // 2) // unit * unit)


@pytest.mark.parametrize(("name", "unit"), [("perf", 1000), ("perf-ns", 1), ("perf-chains", 1000)])
def test_perf_script(name: str, unit: int) -> None:
    source = open_source(HERE / f"{name}.txt.xz")
    read = concat_chunks(list(source.events()))
    wanted = concat_chunks(list(open_source(HERE / "perf-ns.txt.xz").events()))
    assert source.form == "perf script text"
    assert read.rows == wanted.rows > 100
    assert np.array_equal(read.ts, wanted.ts // unit * unit)
    assert equal(columns(read, ts=wanted.ts), wanted)
    assert {EventKind.MM_PAGE_ALLOC, EventKind.MM_PAGE_FREE} == set(read.kind.tolist())


def test_perf_script_header() -> None:
    source = open_source(HERE / "perf-chains.txt.xz")
    assert sum(chunk.rows for chunk in source.events())
    machine = source.machine()
    assert (machine.kernel, machine.arch, machine.cpus) == ("6.18.44-fc-v782", "x86_64", 2)


LINE = "  x-5 [001] 1.000001: mm_page_free: page=0x1 pfn=0x{:x} order=0\n"


def from_text(tmp_path: Path, text: str) -> tuple[Recording, dict[str, object]]:
    """The recording of a text."""
    (tmp_path / "t.txt").write_text(text)
    about = import_recording(tmp_path / "t.txt", tmp_path / "t.kev")
    return Recording.open(tmp_path / "t.kev"), about


def test_lost_events(tmp_path: Path) -> None:
    text = "# entries-in-buffer/entries-written: 3/10   #P:4\n" + LINE.format(1)
    text += "CPU:1 [LOST 23 EVENTS]\n" + LINE.format(2) + "CPU:1 [EVENTS DROPPED]\n" + LINE.format(3)
    text += "CPU:2 [LOST EVENTS]\n" + LINE.format(4)
    made, about = from_text(tmp_path, text)
    found = [(x.cpu, x.missed, x.gaps, x.overrun) for x in made.losses]
    assert found == [(0, 0, 0, 7), (1, 23, 1, 0), (2, 0, 1, 0)]
    assert made.machine.cpus == 4
    assert about["lost_events"] == {"0": 7, "1": 24, "2": 1}
    assert about["lost_events_at_least"] is True


def test_lost_events_of_perf(tmp_path: Path) -> None:
    event = "  sh 5 [002] 1.000001: kmem:mm_page_free: page=0x1 pfn=0x7 order=0\n"
    made, _ = from_text(tmp_path, event + "  sh 5 [002] 1.000002: PERF_RECORD_LOST lost 17\n" + event)
    assert {x.cpu: x.missed for x in made.losses if x.any} == {2: 17}


def test_lines_out_of_order_are_sorted(tmp_path: Path) -> None:
    lines = [f"x-5 [00{i % 2}] {t // 10}.{t % 10}00000: mm_page_free: page=0x1 pfn={t} order=0" for i, t in
             enumerate([30, 10, 20, 20, 50, 40])]  # fmt: skip
    made, _ = from_text(tmp_path, "\n".join(lines))
    chunk = concat_chunks(list(made.events()))
    assert chunk.pfn.tolist() == [10, 20, 20, 30, 40, 50]
    assert chunk.cpu.tolist() == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x-5 [001] 1.000002: mm_page_free: page=0x1 pf", "line 2 has mm_page_free without its pfn"),
        ("x-5 [001] 1.000002: mm_page_free: page=0x1 pfn=0xzz order=0", "line 2 has an unreadable value"),
        (
            "x-5 [001] 1.000002: mm_page_free: page=0x1 pfn=0x" + "1" * 900 + " order=0",
            "line 2 has an unreadable value",
        ),
        (
            "x-5 [99999] 1.000002: mm_page_free: page=0x1 pfn=0x1 order=0",
            "a CPU or process number that cannot be",
        ),
        ("x-5 [001] 5123: mm_page_free: page=0x1 pfn=0x1 order=0", "of a trace clock that counts no seconds"),
        ("x-5 [001] 99999999999.000001: mm_page_free: page=0x1 pfn=0x1 order=0", "a time that cannot be"),
    ],
)
def test_lines_that_cannot_be(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(KevacuateError, match=said):
        from_text(tmp_path, LINE.format(1) + line + "\n")
    assert not (tmp_path / "t.kev").exists()


def test_names_of_other_kernels(tmp_path: Path) -> None:
    text = "x-5 [001] 1.000001: mm_page_alloc: page=000000 pfn=5 order=0 migratetype=0 gfp_flags=GFP_KERNEL|__GFP_OLD\n"
    text += (
        "x-5 [001] 1.000001: mm_page_alloc: page=(nil) pfn=0x0 order=3 migratetype=0 gfp_flags=GFP_NOWAIT\n"
    )
    made, about = from_text(tmp_path, text)
    chunk = next(iter(made.events()))
    assert about["names_not_known"] == ["__GFP_OLD"]
    assert chunk.gfp.tolist() == [0xCC0, 0x2800]
    assert chunk.pfn.tolist() == [5, -1]


def test_what_is_no_trace(tmp_path: Path) -> None:
    for data, said in (
        (b"hello world\n", "is not a file that can be imported"),
        (b"PERFILE2" + bytes(100), "is a perf.data file: .*Import the text that `perf script` prints"),
        (b"PERFILE2" + bytes([104, *[0] * 95]), "is a perf.data file"),  # a length that a sub-buffer may have
        (b"\x1f\x8b" + bytes(100), "is corrupted: it does not decompress"),
        (b"", "is empty: it holds no events"),
    ):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(KevacuateError, match=said):
            open_source(tmp_path / "x")
    assert text_dialect(b"# tracer: nop\n#\n\n") is None


@given(st.integers(0, GFP_MASK))
def test_gfp_flags_round_trip(flags: int) -> None:
    assert gfp_value(gfp_text(flags)) == (flags, ())


def test_gfp_names_are_those_of_the_kernel() -> None:
    shown = {
        0xCC0: "GFP_KERNEL", 0x440DC0: "GFP_KERNEL_ACCOUNT|__GFP_ZERO|__GFP_COMP",
        0x140DCA: "GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP", 0x820: "GFP_ATOMIC", 0: "none",
    }  # fmt: skip
    assert {flags: gfp_text(flags) for flags in shown} == shown


def rows(kinds: list[int]) -> st.SearchStrategy[list[dict[str, int]]]:
    """Events of these kinds with values that the kernel's fields can hold."""
    wide = st.integers(-(2**63), 2**63 - 1)
    row = st.fixed_dictionaries(
        {
            "ts": st.integers(0, 2**61), "cpu": st.integers(0, 8191), "pid": st.integers(-1, 2**22),
            "kind": st.sampled_from(kinds), "pfn": st.integers(-1, 2**34 - 1), "order": st.integers(0, 10),
            "mt": st.integers(0, 5), "gfp": st.integers(0, GFP_MASK), "a": wide, "b": wide, "c": wide, "d": wide,
        }
    )  # fmt: skip
    return st.lists(row, min_size=30, max_size=120)


ALL = [int(k) for k in EventKind if k != EventKind.GT_DUMP]


@settings(max_examples=10)
@given(rows(ALL))
def test_export_and_import_of_anything_that_is_printed(given_rows: list[dict[str, int]]) -> None:
    given_rows.sort(key=lambda row: row["ts"])
    chunk = as_printable(
        EventChunk(*(np.array([r[n] for r in given_rows], t) for n, t in COLUMN_TYPES.items()))  # type: ignore[arg-type]
    )
    assert equal(round_trip(chunk), chunk)


def as_printable(chunk: EventChunk) -> EventChunk:
    """Only the columns that each kind fills, with values that its print format can show."""
    from kevacuate.recording.eventtext import NAMES, PRINTED, places

    result = EventChunk(*(c.copy() for c in chunk))
    for i, kind in enumerate(chunk.kind.tolist()):
        forms = {p.column: p.form for p in places(PRINTED[NAMES[kind]])}
        for column in VALUE_COLUMNS:
            value = getattr(result, column)
            form = forms.get(column)
            if form is None:
                value[i] = -1 if column == "pfn" else 0
            elif form in SYMBOLS:
                value[i] %= len(SYMBOLS[form])
            elif form in ("dev", "ofs", "end"):
                value[i] %= 1 << 32
            elif form in ("zone", "limit"):
                value[i] %= 4
            elif form == "writeback":
                value[i] %= 32
            elif form == "given" and value[i] == 0:
                value[i] = 1
            elif form == "pte" and result.order[i] >= 9 and value[i] >= 0:
                value[i] &= ~((1 << int(result.order[i])) - 1)
        for column in ("a", "b", "c"):  # what no machine has is refused
            if column in _PFNS and _PFNS[column][kind]:
                getattr(result, column)[i] %= 1 << 34
        if kind == EventKind.MM_PAGE_ALLOC_EXTFRAG:
            result.a[i] %= 11
        if kind == EventKind.GT_SLOW:  # two fields of a byte each
            result.b[i] %= 1 << 16
        if kind == EventKind.GT_GEN:  # four of them
            result.b[i] %= 1 << 32
        if kind == EventKind.GT_RMQ:
            result.pfn[i] = result.c[i] if 3 <= result.a[i] <= 5 else -1
    return result


def round_trip(chunk: EventChunk) -> EventChunk:
    """Export and import."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        machine = machine_of(
            {}, kernel="7.2.13", arch="x86_64", cpus=4, clock="mono", zones=("DMA32", "Normal", "A", "B")
        )
        with KevWriter(place / "x.kev", machine) as writer:
            writer.add_events(chunk)
        out = io.BytesIO()
        write_ftrace(Recording.open(place / "x.kev"), out)
        (place / "x.txt").write_bytes(out.getvalue())
        import_recording(place / "x.txt", place / "y.kev")
        made = Recording.open(place / "y.kev")
        assert made.machine.zone_names == machine.zone_names
        assert (made.machine.kernel, made.machine.arch, made.machine.clock) == ("7.2.13", "x86_64", "mono")
        return concat_chunks(list(made.events()))


@pytest.mark.parametrize("name", ["live", "rich"])
def test_export_and_import_of_a_recording(tmp_path: Path, name: str) -> None:
    import_recording(DATA / f"{name}.v7.dat", tmp_path / "x.kev")
    with (tmp_path / "x.txt").open("wb") as out:
        events = write_ftrace(Recording.open(tmp_path / "x.kev"), out)
    import_recording(tmp_path / "x.txt", tmp_path / "y.kev")
    wanted = concat_chunks(list(Recording.open(tmp_path / "x.kev").events()))
    assert equal(concat_chunks(list(Recording.open(tmp_path / "y.kev").events())), wanted)
    assert events == events_only(wanted).rows


def test_the_export_is_what_trace_cmd_report_prints(tmp_path: Path) -> None:
    """Of the running kernel's allocator events, all of whose values are kept, the lines are the same."""
    import_recording(DATA / "live.v7.dat", tmp_path / "x.kev")
    out = io.BytesIO()
    write_ftrace(Recording.open(tmp_path / "x.kev"), out)
    ours = [line.split() for line in out.getvalue().decode().splitlines() if not line.startswith("#")]
    theirs = [
        line.split()
        for line in lzma.decompress((DATA / "live.text.xz").read_bytes()).decode().splitlines()
        if ": mm_" in line
    ]
    assert ours == theirs
