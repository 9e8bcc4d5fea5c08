# SPDX-License-Identifier: GPL-2.0-or-later
"""One source, three forms: raw pointers, arrays with bounds checked, plain Python. All go through the same states."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import forms_script
import pytest

import kevacuate

FORMS = {
    # As little optimisation as there is: the checked form is compiled here for one run, and takes long otherwise.
    "arrays": {"NUMBA_BOUNDSCHECK": "1", "NUMBA_OPT": "0"},
    "python": {"NUMBA_DISABLE_JIT": "1"},
}


@pytest.mark.parametrize("form", FORMS)
def test_same_states_and_bad_indices_noticed(form: str, tmp_path: Path) -> None:
    here = Path(__file__).parent
    path = [str(Path(kevacuate.__file__).parent.parent), str(here), str(here.parent)]
    environment = {"PYTHONPATH": os.pathsep.join(path), "KEVACUATE_CACHE_DIR": str(tmp_path), **FORMS[form]}
    done = subprocess.run(
        [sys.executable, str(here / "forms_script.py")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert forms_script.form() == "pointers"
    assert done.stdout.strip() == f"{form} True {forms_script.digest()}"
