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

FORMS = {"arrays": {"NUMBA_BOUNDSCHECK": "1"}, "python": {"NUMBA_DISABLE_JIT": "1"}}


def run(form: str, *arguments: str) -> str:
    """What the script prints in another form."""
    here = Path(__file__).parent
    path = [str(Path(kevacuate.__file__).parent.parent), str(here), str(here.parent)]
    done = subprocess.run(
        [sys.executable, str(here / "forms_script.py"), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **FORMS[form]},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def reference() -> str:
    """The digest in this process, which runs the form that users run."""
    assert forms_script.form() == "pointers"
    return forms_script.digest()


@pytest.mark.parametrize("form", FORMS)
def test_same_states(form: str, reference: str) -> None:
    assert run(form) == f"{form} {reference}"


@pytest.mark.parametrize("form", FORMS)
def test_bad_index_is_noticed(form: str) -> None:
    assert run(form, "bad index") == f"{form} True"
