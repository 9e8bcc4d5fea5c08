# SPDX-License-Identifier: GPL-2.0-or-later
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def synthetic_kev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made recording of `synthetic`, which fragments memory."""
    from synthetic import write_recording

    return write_recording(tmp_path_factory.mktemp("synthetic") / "tiny.kev")
