# SPDX-License-Identifier: GPL-2.0-or-later
"""Any change to a recording's bytes gives a KevacuateError or another recording, never anything else."""

import lzma
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from recording_reference import RAW_1CPU, RAW_2CPU

from kevacuate.errors import KevacuateError
from kevacuate.recording import Recording
from kevacuate.recording.fieldtable import decoding
from kevacuate.recording.formats import load_formats, parse_format
from kevacuate.recording.ringbuf import RawReader
from kevacuate.recording.schema import ALL_KINDS

SAMPLE_PAGES = 6


@cache
def sample() -> bytes:
    return lzma.decompress((RAW_1CPU / "trace" / "cpu0.raw.xz").read_bytes())[: SAMPLE_PAGES * 4096]


def decode(data: bytes) -> int:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "cpu0.raw"
        file.write_bytes(data)
        reader = RawReader(file, 0, decoding(load_formats(RAW_1CPU / "formats"), ALL_KINDS))
        return sum(chunk.rows for chunk in reader.chunks(1 << 14))


flips = st.lists(
    st.tuples(st.integers(0, SAMPLE_PAGES * 4096 - 1), st.integers(0, 255)), min_size=1, max_size=8
)


@settings(max_examples=150, deadline=None)
@given(flips, st.integers(0, SAMPLE_PAGES * 4096))
@example([(16, 0)], 8192)
@example([(8, 0xFF), (9, 0xFF), (10, 0xFF), (11, 0xFF)], 24576)
def test_changed_raw_bytes(changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(sample())
    for at, value in changes:
        data[at] = value
    with suppress(KevacuateError):
        assert decode(bytes(data)) <= SAMPLE_PAGES * 512
    with suppress(KevacuateError):
        decode(bytes(data[:length]))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=9000))
def test_random_raw_bytes(data: bytes) -> None:
    with suppress(KevacuateError):
        decode(data.ljust(-(-len(data) // 4096) * 4096, b"\x81"))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_random_format_text(text: str) -> None:
    with suppress(KevacuateError):
        parse_format(text)
    with suppress(KevacuateError):
        parse_format("name: x\nID: 7\nformat:\n\tfield:int a;\toffset:8;\tsize:4;\tsigned:1;\n" + text)


def test_every_truncation_of_a_small_raw_file() -> None:
    data = sample()[:8192]
    for length in range(0, 8192, 97):
        with suppress(KevacuateError):
            decode(data[:length])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_changed_files_of_a_raw_directory(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x"
        shutil.copytree(RAW_2CPU, path)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        file = data.draw(st.sampled_from(files))
        damage(file, data)
        with suppress(KevacuateError):
            use(Recording.open(path))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_changed_files_of_a_kev_directory_even_unverified(kev_1cpu: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.kev"
        shutil.copytree(kev_1cpu, path)
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != "machine.json")
        damage(data.draw(st.sampled_from(files)), data)
        with suppress(KevacuateError):
            use(Recording.open(path, verify=False))


def damage(file: Path, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])


def use(recording: Recording) -> None:
    assert recording.machine.cpus >= 1
    assert recording.losses
    assert recording.quality
    assert recording.digest
    for _ in recording.events():
        pass
    assert len(recording.states) <= 2
    assert recording.start is None or recording.start.tag
