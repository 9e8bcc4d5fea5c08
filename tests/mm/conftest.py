# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from lockstep_counts import Counts


@pytest.fixture
def lockstep_counts(request: pytest.FixtureRequest, lockstep_directory: Path) -> Iterator[Counts]:
    """Counts of what a lockstep test reaches; saved for the session's summary."""
    counts = Counts()
    yield counts
    counts.save(lockstep_directory, hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16])
