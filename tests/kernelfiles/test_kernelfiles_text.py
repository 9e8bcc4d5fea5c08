# SPDX-License-Identifier: GPL-2.0-or-later
"""Text files as parsers see them."""

import gzip
from pathlib import Path

import pytest

from kevacuate.errors import KevacuateError
from kevacuate.kernelfiles.text import LONGEST_LINE, TextFile


def test_lines_have_no_ends_and_no_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xef\xbb\xbfone\r\ntw\xffo\n\nlast")
    file = TextFile(tmp_path / "log")
    assert list(file.lines()) == ["one", "tw\ufffdo", "", "last"]
    assert file.head.startswith("one\r\n")


def test_a_compressed_file_is_read_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    assert list(TextFile(tmp_path / "log.gz").lines()) == ["one", "two"]


def test_a_line_without_end_is_cut_and_counted(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(
        b"x" * (3 * LONGEST_LINE) + b"\nnext\n" + b"y" * (LONGEST_LINE - 1) + b"\n"
    )
    file = TextFile(tmp_path / "long")
    assert [len(line) for line in file.lines()] == [LONGEST_LINE, 4, LONGEST_LINE - 1]
    assert file.cut == 1


def test_zero_bytes_around_a_line_are_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n" + b"\0" * 5000 + b"two\0\r\nthr\0ee\n")
    assert list(TextFile(tmp_path / "log").lines()) == ["one", "two", "thr\0ee"]


def test_a_damaged_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"one\ntwo\n" * 99)[:-9])
    with pytest.raises(KevacuateError, match="truncated"):
        list(TextFile(tmp_path / "log.gz").lines())
