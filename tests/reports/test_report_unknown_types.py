# SPDX-License-Identifier: GPL-2.0-or-later
"""Migratetypes that Linux 7.2 does not have are told as not known, by everything that prints a type."""

from pathlib import Path

import pytest
from recorded_tools import K, event, extfrag, write_events

from kevacuate.cli.main import main
from kevacuate.kernel.hooks import EvacOp


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of types from -128 to 127 on one pageblock."""
    rows = [event(1, K.MM_PAGE_ALLOC, 1032, mt=1)]
    for at, mt in enumerate((-128, -1, 6, 127)):
        ts = 10 * at + 2
        rows += [
            extfrag(ts, 1024, mt, 1, taken=3, own=True),
            extfrag(ts + 1, 1024, 0, mt, taken=3, own=True),
            extfrag(ts + 2, 1024, 0, mt, taken=3, own=False),
            event(ts + 3, K.GT_BLK, 1024, mt=mt, a=mt),
            event(ts + 4, K.GT_EVAC, 1024, order=EvacOp.CLAIM, a=mt << 8 | (mt & 255)),
            event(ts + 5, K.GT_EVAC, 1024, order=EvacOp.STARTED, a=mt << 8),
            event(ts + 6, K.GT_EVAC, 1024, order=EvacOp.FINISHED, d=mt & 255),
            event(ts + 7, K.MM_PAGE_ALLOC, 1032, mt=mt),
        ]
    return write_events(tmp_path_factory.mktemp("types") / "strange.kev", rows)


@pytest.mark.parametrize("command", ["info", "triage", "explain", "export", "report", "watch", "compare"])
def test_a_type_that_does_not_exist_is_not_known(
    strange: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {
        "explain": ["block:2"],
        "export": ["--perfetto", "-o", str(tmp_path / "x.pftrace")],
        "report": ["--recorded", "-o", str(tmp_path / "x.html")],
        "watch": ["--once"],
        "compare": ["--recorded", str(strange)],
    }.get(command, [])
    with pytest.raises(SystemExit) as ended:
        main([command, str(strange), *more])
    assert ended.value.code in (None, 0, 2)
    said = capsys.readouterr()
    if command == "explain":
        assert "claimed for not known requests, was" in said.out or "request of type not known" in said.out
    if command == "export":
        assert (tmp_path / "x.pftrace").read_bytes().count(b"not known") >= 4
