# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark's two sides end in one state, and it notices when they do not; its streams are what they say."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from kevacuate.jit import ARRAY_FORM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import run, streams

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="the twin needs a C compiler"),
    pytest.mark.skipif(ARRAY_FORM, reason="only the compiled form is measured"),
]


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return run.build_twin(str(tmp_path_factory.mktemp("twin")))


@pytest.mark.parametrize("kind", streams.KINDS)
def test_final_states_are_equal(twin, kind):
    result = run.measure(twin, kind, 1, 300_000, 1)
    assert result["counters"]["drains"] > 100
    assert result["bytes_per_page_with_objects"] <= 12


def test_fragmenting_stream_claims_and_steals(twin):
    counters = run.measure(twin, "fragmenting", 1, 1_000_000, 1)["counters"]
    assert counters["claims"] > 100
    assert counters["steals"] > 1000


def test_a_different_state_is_noticed(twin, monkeypatch):
    real = run.run_c

    def off_by_one(twin, state, rows, ahead):
        real(twin, state, rows, ahead)
        state.meta[-1] ^= 1

    monkeypatch.setattr(run, "run_c", off_by_one)
    with pytest.raises(run.Mismatch, match="meta"):
        run.measure(twin, "local", 1, 10_000, 1)


def test_streams_are_deterministic():
    for kind in streams.KINDS:
        first, second = (streams.churn(filled_generator(kind), kind, 1, 50_000) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        assert np.all(np.diff(first.t) >= 0)


def filled_generator(kind):
    generator = streams.generator(1, 7)
    for _ in streams.fill(generator, kind, 1):
        pass
    return generator
