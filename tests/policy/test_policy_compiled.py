# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compiled when: a policy's hooks once, and of an edited file those alone that hang on what was edited."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import kevacuate
from kevacuate import hookcompiler, jit
from kevacuate.policy.hooks import HOOKS

pytestmark = pytest.mark.skipif(jit.JIT_DISABLED, reason="nothing is compiled")

FILE = """from kevacuate.policy.api import *
NEW = {new}
REFILL, OTHER = {refill}, {other}
def at_least(n):
    return max(n, {least})
class P(Hooks):
    runs = counter({label!r}, "runs")
    period = knob({period}, "ns")
    def worker(self, s):
        self.runs += 1
        return at_least(self.period) + {more}
    def free_one_page(self, s, z, pfn, order, mt, fpi, tail):
        return tail + NEW * 0
    def nr_pcp_alloc(self, s, z, cpu, order, wanted):
        return at_least(min(wanted, REFILL)) + NEW * 0
"""
FIRST: dict[str, Any] = {
    "refill": 5000,
    "other": 1,
    "least": 1,
    "label": "runs",
    "period": 1000000,
    "more": 0,
}
SECOND = """
import sys
import kevacuate
from numba.core import event
seen = []
class Listener(event.Listener):
    def on_start(self, event):
        seen.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass
event.register("numba:compile", Listener())
print(kevacuate.replay(sys.argv[1], sys.argv[2]).metrics["policy"]["runs"] > 0, seen)
"""


@contextmanager
def compiling() -> Iterator[set[str]]:
    """The hooks that are compiled meanwhile, as a new process would find them: none is in memory.

    Of what else is compiled, as parts of them, only that it is none where nothing is to be compiled.
    """
    from numba.core import event

    seen: set[str] = set()

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, event: Any) -> None:
            name = event.data["dispatcher"].py_func.__name__
            seen.add(name.removeprefix("_P_").rpartition("_")[0] if name.startswith("_P_") else name)

        def on_end(self, event: Any) -> None:
            pass

    listener = Listener()
    hookcompiler._addresses.clear()
    event.register("numba:compile", listener)
    try:
        yield seen
    finally:
        event.unregister("numba:compile", listener)


def test_an_edit_compiles_what_hangs_on_it_and_nothing_twice(tmp_path: Path, synthetic_kev: Path) -> None:
    kevacuate.replay(synthetic_kev, "mainline")
    path, new = tmp_path / "p.py", secrets.randbits(40)
    edits: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {"worker", "free_one_page", "nr_pcp_alloc"}),
        ({}, set()),
        ({"more": 7}, {"worker"}),
        ({"refill": 4000}, {"nr_pcp_alloc"}),
        ({"least": 2}, {"worker", "nr_pcp_alloc"}),
        ({"other": 9, "label": "runs of it", "period": 900000}, set()),
    ]
    given = FIRST
    for edit, compiled in edits:
        given = given | edit
        path.write_text(FILE.format(new=new, **given))
        with compiling() as seen:
            kevacuate.replay(synthetic_kev, f"{path}:P")
        assert {name for name in seen if name in HOOKS} == compiled, edit
        assert compiled or not seen
    ran = subprocess.run(
        [sys.executable, "-c", SECOND, str(synthetic_kev), f"{path}:P"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "True []\n"
