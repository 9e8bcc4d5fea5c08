# SPDX-License-Identifier: GPL-2.0-or-later
from pathlib import Path

import pytest
from recording_reference import RAW_1CPU, RAW_2CPU

from kevacuate.recording import Recording


@pytest.fixture(scope="session")
def kev_1cpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kev") / "one.kev"
    Recording.open(RAW_1CPU).save(path)
    return path


@pytest.fixture(scope="session")
def kev_2cpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kev") / "two.kev"
    Recording.open(RAW_2CPU).save(path)
    return path
