# SPDX-License-Identifier: GPL-2.0-or-later
"""Columns of numbers go to Arrow and back without pandas, which no install brings."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pytest

from kevacuate.recording.parquet import arrow_of, numpy_of, numpy_type

TYPES = (
    np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64,
    np.float16, np.float32, np.float64,
)  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_numbers_come_back_where_pandas_is_not(
    kind: type[np.generic], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)  # an import of it fails
    numbers = np.array([0, 1, 1, 0, 1, 1, 1, 0, 1], kind)
    column = arrow_of(numbers)
    assert numpy_type(column.type) == np.dtype(kind)
    for part, expected in ((column, numbers), (column[3:], numbers[3:]), (column[:0], numbers[:0])):
        back = numpy_of(part)
        assert back.dtype == expected.dtype
        assert np.array_equal(back, expected)


def test_what_is_no_number_is_no_type_of_numpy() -> None:
    with pytest.raises(TypeError):
        numpy_type(pa.string())
