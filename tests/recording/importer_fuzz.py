# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged and hostile files for every importer, drawn from a seed: equal seeds give equal files.

Whatever a file holds, an importer gives events or a KevacuateError. Run for longer by benchmarks/fuzz_import.py.
"""

from __future__ import annotations

import lzma
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import kernel_formats as kf
from recording_reference import RAW_2CPU
from tracedat_maker import DATA, Maker, Parts, option, pack, take_apart

from kevacuate.errors import KevacuateError
from kevacuate.recording.importers import ImportOptions, import_recording, open_source

TEXT = DATA.parent / "text"
EXTREMES = (
    0,
    1,
    3,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
WORDS = (
    b"0x", b"-", b"=", b": ", b"[", b"]", b"us", b"(", b")", b"|", b"\0", b"\n", b"\xff\xfe", b" " * 300,
    b"-1 " * 200, b"9" * 400,
    b"CPU:1 [LOST 99999999999999 EVENTS]\n", b"mm_page_alloc: ", b"kmem:mm_page_free: ", b"pfn=0x" + b"f" * 40,
    b"# entries-in-buffer/entries-written: 1/99999999999   #P:99999\n", b'{0, "DMA"}, ',
    b"field:unsigned long x;\toffset:65535;\tsize:8;",
)  # fmt: skip


def flipped(data: bytes, draw: random.Random) -> bytes:
    """One to thirty bytes changed."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 30)):
        out[draw.randrange(len(out))] = draw.randrange(256)
    return bytes(out)


def cut(data: bytes, draw: random.Random) -> bytes:
    """The end or a middle part missing."""
    at = draw.randrange(len(data))
    return data[:at] if draw.random() < 0.5 else data[:at] + data[at + draw.randint(1, 5000) :]


def extreme(data: bytes, draw: random.Random) -> bytes:
    """A few numbers replaced by extreme ones."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        size = draw.choice((2, 4, 8))
        at = draw.randrange(max(1, len(out) - size))
        value = draw.choice((*EXTREMES, len(data), draw.randrange(1 << 64)))
        out[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    return bytes(out)


def repeated(data: bytes, draw: random.Random) -> bytes:
    """A part repeated, or moved elsewhere."""
    at, length = draw.randrange(len(data)), draw.randint(1, 3000)
    part = data[at : at + length] * draw.choice((1, 2, 20))
    place = draw.randrange(len(data))
    return data[:place] + part + data[place:]


def worded(data: bytes, draw: random.Random) -> bytes:
    """Words of the formats put in."""
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(data))
        data = data[:at] + draw.choice(WORDS) + data[at + draw.choice((0, 1, 4, 8)) :]
    return data


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, cut, extreme, repeated, worded)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """One or two of the mutations."""
    for _ in range(draw.randint(1, 2)):
        data = draw.choice(MUTATIONS)(data, draw) or b"\0"
    return data


def hostile_trace_dat(parts: Parts, draw: random.Random) -> bytes:
    """A trace.dat whose damage lies inside sections and trace data that decompress as they should."""
    sections, cpus, options = dict(parts.sections), dict(parts.cpus), list(parts.options)
    for _ in range(draw.randint(1, 2)):
        what = draw.randrange(3)
        if what == 0:
            number = draw.choice((16, 17, 18, 18))
            sections[number] = damaged(sections[number], draw)
        elif what == 1:
            cpu = draw.choice(list(cpus))
            cpus[cpu] = damaged(cpus[cpu], draw)
        else:
            options.append((draw.randrange(24), draw.randbytes(draw.randint(0, 60))))
    data = pack(
        Parts(options, sections, cpus), draw.choice(("none", "zlib", "zstd")), draw.choice((("",), ("a",)))
    )
    return damaged(data, draw) if draw.random() < 0.1 else data


class Importer:
    """One importer's samples.

    Parameters
    ----------
    name : str
        Its name.

    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.formats: Path | None = RAW_2CPU / "formats" if name == "raw" else None
        self.samples = _SAMPLES[name]()
        self.parts = [take_apart(sample) for sample in self.samples] if name == "trace.dat 7" else []

    def file(self, seed: int) -> tuple[str, bytes]:
        """Name and content of the file that belongs to a seed."""
        draw = random.Random(f"{self.name} {seed}")
        sample = draw.randrange(len(self.samples))
        if self.parts and draw.random() < 0.7:
            return "x.dat", hostile_trace_dat(self.parts[sample], draw)
        return "cpu1.raw" if self.name == "raw" else "x.dat", damaged(self.samples[sample], draw)


def _texts(*names: str) -> list[bytes]:
    return [lzma.decompress((TEXT / f"{name}.txt.xz").read_bytes()) for name in names]


def _version_6() -> list[bytes]:
    return [lzma.decompress((DATA / f"{name}.v6.dat.xz").read_bytes()) for name in ("live", "rich")]


def _other_machines() -> list[bytes]:
    """Small files of 32-bit and big-endian machines."""
    found = []
    for maker in (Maker("little", 4), Maker("big", 8), Maker("big", 4)):
        n = maker.long_bytes
        formats = [
            kf.page_alloc(kf.GFP_41, n),
            kf.extfrag("(11-1)", n),
            kf.compaction_end(kf.RESULTS_44, n),
            kf.zone_wmarks(n),
        ]
        payloads = [
            maker.payload(event, text=b"Normal\0" if event is formats[3] else b"") for event in formats
        ]
        pages = {
            cpu: b"".join(maker.page(10**9 * i, *(maker.event(p) for p in payloads * 9)) for i in range(1, 4))
            for cpu in range(2)
        }
        found += [maker.version_6(formats, pages), maker.version_7(formats, {"": (4096, pages)})]
    return found


_SAMPLES: dict[str, Callable[[], list[bytes]]] = {
    "trace.dat 6": _version_6,
    "trace.dat 7": lambda: [(DATA / f"{name}.v7.dat").read_bytes() for name in ("live", "rich")],
    "trace.dat of other machines": _other_machines,
    "ftrace text": lambda: [
        *_texts("trace", "trace-fields", "trace-latency", "report-latency", "report-raw"),
        lzma.decompress((DATA / "rich.text.xz").read_bytes()),
    ],
    "perf script": lambda: _texts("perf", "perf-chains"),
    "raw": lambda: [
        lzma.decompress((RAW_2CPU / "trace" / f"cpu{i}.raw.xz").read_bytes())[:40960] for i in (0, 1)
    ],
}
IMPORTERS = tuple(_SAMPLES)


def bombs() -> dict[str, bytes]:
    """Files that claim, or decompress to, far more than they are."""
    parts = take_apart((DATA / "live.v7.dat").read_bytes())
    found: dict[str, bytes] = {}
    for codec in ("zlib", "zstd"):
        large = Parts(parts.options, {**parts.sections, 18: bytes(300 << 20)}, parts.cpus)
        found[f"events-{codec}"] = pack(large, codec)
        small = parts._replace(options=[*parts.options, (9, b"MARK")])
        found[f"piece-{codec}"] = _large_piece(pack(small, codec), codec)
    cpus = {cpu: next(iter(parts.cpus.values()))[:4096] for cpu in range(3000)}
    found["cpus-none"] = pack(parts._replace(cpus=cpus))
    found["cpus-zstd"] = pack(parts._replace(cpus=cpus), "zstd")
    head = b"\x17\x08Dtracing7\0\0\x08" + struct.pack("<I", 4096) + b"none\0001\0"
    loop = struct.pack("<HHIQ", 0, 0, 0, 14) + option(0, struct.pack("<Q", len(head) + 8))
    found["loop"] = head + struct.pack("<Q", len(head) + 8) + loop
    found["lost"] = (
        b"x 1 [000] 1.000000: k:mm_page_free: pfn=0x1 order=0\n"
        + (b" [1] 1" * 600 + b" PERF_RECORD_LOST\n") * 1000
    )
    found["line"] = b"x-1 [000] 1.000000: mm_page_free: pfn=0x1 order=0\n" + b"a" * (64 << 20)
    found["spaces"] = (
        b"x-1 [000] 1.000000: mm_page_free: pfn=0x1 order=0\n" + (b" " * 4000 + b"-1 [\n") * 1000
    )
    found["dashes"] = b"x-1 [000] 1.000000: mm_page_free: pfn=0x1 order=0\n" + (b"-1 " * 1300 + b"\n") * 1000
    found["brackets"] = (
        b"x 1 [000] 1.000000: k:mm_page_free: pfn=0x1 order=0\n" + (b" [1] 1" * 600 + b"\n") * 2000
    )
    return found


def _large_piece(data: bytes, codec: str) -> bytes:
    """The first piece of trace data claims 3 GiB."""
    at = data.index(struct.pack("<HHI", 3, 1, 0)) + 16
    return data[: at + 8] + struct.pack("<I", 3 << 30) + data[at + 12 :]


def run(data: bytes, name: str, formats: Path | None, whole: bool = False) -> str:
    """Import the file: "" if that succeeded, else the sentence. *whole*: write the recording, too."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / name
        file.write_bytes(data)
        options = ImportOptions(formats)
        try:
            if whole:
                import_recording(file, Path(directory) / "x.kev", options)
                return ""
            source = open_source(file, options)
            for _ in source.events():
                pass
            source.machine()
            source.losses()
            source.facts()
        except KevacuateError as error:
            text = str(error)
            assert text.endswith("."), text
            assert "\n" not in text
            assert len(text) < 1000
            return text
        return ""
