# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptions as files: what is read, and the one sentence, with its line, for what is wrong."""

from __future__ import annotations

import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

import kevacuate
from kevacuate import KevacuateError
from kevacuate.demand.build import build_demand
from kevacuate.kernel import gfp as gf
from kevacuate.recording import DemandOp
from kevacuate.workload import describe as ds
from kevacuate.workload import kinds as kd
from kevacuate.workload.plan import plan_of
from kevacuate.workload.stream import digest_of, workload_recording
from kevacuate.workload.toml import read_workload

GOOD = """\
duration = "2h"
seed = 7
[machine]
memory = "1GiB"
cpus = 4
# the first part
[[anonymous]]
memory = "30%"
[[slab]]
name = "dentry"
type = "reclaimable"
[[slab]]
lifetime = "3s"
[rhythm]
period = "1h"
"""


def read(tmp_path: Path, text: str) -> ds.Workload:
    """The workload that a text describes."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return read_workload(path)


def test_a_description_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    assert (found.name, found.duration, found.seed) == ("mine", 7200 * 10**9, 7)
    assert found.machine == ds.Machine(memory="1GiB", cpus=4)
    assert [(part.TABLE, part.name) for part in found.parts] == [
        ("anonymous", "anonymous"), ("slab", "dentry"), ("slab", "slab"),
    ]  # fmt: skip
    assert found.rhythm == ds.Rhythm(period="1h")
    assert (
        digest_of(found)
        == digest_of(read(tmp_path, GOOD))
        != digest_of(read(tmp_path, GOOD.replace("= 7", "= 8")))
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('memory = "30%"', 'memory = "30"', "line 8: anonymous.memory cannot be '30': give a size such as 2GiB, or a share"),
        ('memory = "30%"', 'memroy = "30%"', "line 8: there is no key of anonymous 'memroy' (did you mean memory?); known are"),
        ('lifetime = "3s"', "lifetime = true", "line 13: slab.lifetime cannot be True: give a time from 1us on, such as 500us"),
        ('type = "reclaimable"', 'type = "x"', "line 11: slab.type cannot be 'x': give unmovable or reclaimable."),
        ("[[anonymous]]", "[[anon]]", "line 7: there is no key or table 'anon' (did you mean anonymous?)"),
        ("[[anonymous]]", "[anonymous]", "line 7: anonymous may come several times: write [[anonymous]]."),
        ("[machine]", "[[machine]]", "machine is no table: write [machine]"),
        ('memory = "1GiB"\n', "", "line 3: machine.memory is missing: give a size such as 2GiB"),
        ("seed = 7", "seed = -1", "line 2: workload.seed cannot be -1: give a whole number from 0 to 2,147,483,647."),
        ("seed = 7", "sed = 7", "line 2: there is no key or table 'sed' (did you mean seed?)"),
        ('duration = "2h"', "duration = ", "is no TOML: invalid value (at line 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert GOOD.count(old) == 1
    with pytest.raises(KevacuateError) as refused:
        read(tmp_path, GOOD.replace(old, new))
    assert said in str(refused.value)
    assert "mine.toml" in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 1", "there is no table [machine]"),
        ('[machine]\nmemory = "1GiB"', "has no part: describe at least one of anonymous, forks"),
        (
            '[machine]\nmemory = "1GiB"\n[[pool]]\nmemory = "1%"\nshares = [0.5, 0.5]',
            "pool.shares has 2 values",
        ),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(KevacuateError, match=r"mine\.toml, line \d: ") as refused:
        read(tmp_path, text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("more", "line", "said"),
    [
        ('[[slab]]\nmemory = "1%"\n[[slab]]\nmemory = "140%"\n', 5, "the parts have"),
        ('[[slab]]\n[[anonymous]]\nmemory = "40%"\ncpus = "9"\n', 4, "is on the CPUs 9"),
        ('[[network]]\nrate = "1GiB/s"\nheld = "1h"\n', 3, "the parts have"),
    ],
)
def test_a_part_that_does_not_fit_is_named_with_its_line(
    tmp_path: Path, more: str, line: int, said: str
) -> None:
    (tmp_path / "mine.toml").write_text(f'[machine]\nmemory = "64MiB"\n{more}')
    with pytest.raises(KevacuateError, match=said) as refused:
        read_workload(tmp_path / "mine.toml")
    assert str(refused.value).startswith(f"{tmp_path / 'mine.toml'}, line {line}: ")


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"x" * (1 << 20) + b"\n"])
def test_a_file_that_is_no_description_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.toml").write_bytes(raw)
    with pytest.raises(KevacuateError, match=r"x\.toml (is no|cannot be read: it is longer)"):
        read_workload(tmp_path / "x.toml")
    with pytest.raises(KevacuateError, match=r"y\.toml cannot be read: No such file"):
        read_workload(tmp_path / "y.toml")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (kd.AMOUNT, "2GiB", kd.Amount(2 << 30)),
        (kd.AMOUNT, "12.5%", kd.Amount(0, 0.125)),
        (kd.AMOUNT, "2GB", None),
        (kd.AMOUNT, "0%", None),
        (kd.BYTES, "4KiB", 4096),
        (kd.BYTES, "4%", None),
        (kd.TIME, "1.5min", 90 * 10**9),
        (kd.TIME, 2, 2 * 10**9),
        (kd.TIME, "2 weeks", None),
        (kd.TIME, -1, None),
        (kd.TIME, "500d", None),
        (kd.RATE, "30/min", 0.5),
        (kd.RATE, "x/s", None),
        (kd.FLOW, "10MiB/s", 10 << 20),
        (kd.FLOW, "10MiB", None),
        (kd.SHARE, "40%", 0.4),
        (kd.SHARE, 1.1, None),
        (kd.SHARE, float("nan"), None),
        (kd.GFP, "GFP_KERNEL|__GFP_ZERO", gf.GFP_KERNEL | gf.GFP_ZERO),
        (kd.GFP, "GFP_X", None),
        (kd.CPUS, "0-7", "0-7"),
        (kd.CPUS, "0,1", None),
        (kd.several(kd.TIME, 2), ["1s", "2s"], (10**9, 2 * 10**9)),
        (kd.several(kd.TIME, 2), ["1s", "x"], None),
    ],
)
def test_values_are_read(kind: kd.Kind, text: Any, value: Any) -> None:
    assert kind.read(text) == value
    if value is not None:
        assert kind.read(kind.read(text)) == value  # a description that is changed is read again


@pytest.mark.parametrize(
    ("parts", "machine", "said"),
    [
        ((ds.Anonymous(memory="60%"), ds.Slab(memory="50%")), {}, "With slab 'slab' the parts have 0.07 GiB at once"),
        ((ds.Anonymous(cpus="4-7"),), {}, "anonymous 'anonymous' is on the CPUs 4-7, and the machine has the CPUs 0-0."),
        ((ds.Slab(cpus="node1"),), {}, "slab 'slab' is on node1, and the machine has 1 node."),
        ((ds.Vmalloc(memory="2KiB"),), {"memory": "2KiB"}, "machine.memory cannot be 2,048 bytes on one node: give 32MiB"),
        ((ds.PageCache(files="400%"),), {}, "page_cache.files of 'page_cache' cannot be more than 300%"),
        ((ds.Forks(rate=1e6, lifetime="1s"),), {}, "the parts have"),
        ((ds.Slab(),), {"memory": "30%"}, "machine.memory cannot be a share"),
        (
            (ds.Vmalloc(area=1, lifetime="1us", pause="1ns", memory="90%"),), {"cpus": 1},
            "vmalloc 'vmalloc' makes 11,165,833,712 rows a second, and its CPUs can make 5,000,000: describe less memory,",
        ),
        ((ds.Pool(births=(1 << 33,), deaths=(1 << 33,)),), {}, "pool 'pool' makes 28,633,115 rows a second"),
        ((ds.Slab(lifetime="1us"),), {}, "slab 'slab' makes"),
        ((ds.Network(rate="100GiB/s", held="1us", order=0, burst=1),), {}, "network 'network' makes"),
        ((ds.Forks(rate=2e6, lifetime="1us", private=4096),), {}, "forks 'forks' makes"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_the_machine_are_refused(
    parts: Any, machine: dict[str, Any], said: str
) -> None:
    with pytest.raises(KevacuateError) as refused:
        plan_of(ds.Workload(machine=ds.Machine(**({"memory": "64MiB"} | machine)), parts=parts))
    assert said in str(refused.value)


LIVES = [
    (part, name)
    for part in ds.PARTS.values()
    for name, known in part.keys().items()
    if known.kind in (kd.LIFE, ds.Pool.keys()["lifetimes"].kind)
]
NEEDED = {"rate": "1MiB/s", "count": 1}


@pytest.mark.parametrize(("part", "name"), LIVES)
def test_a_life_in_which_nothing_can_be_freed_is_refused(part: Any, name: str) -> None:
    given = {name: value for name, value in NEEDED.items() if part.keys().get(name)}
    if part is ds.Forks:
        given["rate"] = "1/s"
    for text, good in (("999ns", False), ("200ns", False), (0, False), ("1us", True)):
        life = (text,) if name == "lifetimes" else text
        if good:
            part(**given, **{name: life})
            continue
        with pytest.raises(KevacuateError, match=rf"{part.TABLE}\.{name} cannot be .* from 1us on"):
            part(**given, **{name: life})


def of_rows(*parts: ds.PartOf, duration: str) -> ds.Workload:
    return ds.Workload(machine=ds.Machine(memory="4GiB", cpus=4), parts=parts, duration=duration)


@pytest.mark.parametrize(
    "part", [ds.Network(rate="8MiB/s", held="1us", burst=16), ds.Pipes(rate="8MiB/s", held="1ms")]
)
def test_buffers_come_at_their_rate_where_fewer_than_a_burst_are_held(part: ds.PartOf) -> None:
    recording = workload_recording(of_rows(part, duration="10s"))
    made = sum(int((chunk.op == DemandOp.ALLOC).sum()) for chunk in build_demand(recording).chunks())
    assert made == pytest.approx(2048 * 10, rel=0.1)


def test_every_key_says_what_it_is() -> None:
    for table in (ds.Machine, ds.Rhythm, ds.GiganticPages, ds.Workload, *ds.PARTS.values()):
        for name, key in table.keys().items():
            assert key.what, name
            assert len(key.what.split()) < 20


def test_python_says_the_same_of_a_wrong_value() -> None:
    with pytest.raises(KevacuateError, match=r"slab\.order cannot be 9: give a whole number from 0 to 5\."):
        ds.Slab(order=9)
    with pytest.raises(KevacuateError, match="The workload has no part"):
        kevacuate.Workload(machine=ds.Machine(memory="1GiB"), parts=())


def test_the_page_of_workloads_has_every_key_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "workload.md").read_text(encoding="utf-8")
    listed = re.search(r"<!-- keys -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert listed
    rows = [
        [cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in listed[1].splitlines()[2:]
    ]
    common = set(ds.PartOf.keys())
    expected = []
    for table in (ds.Workload, ds.Machine, ds.Rhythm, ds.GiganticPages, ds.PartOf, *ds.PARTS.values()):
        name = {ds.Workload: "(top)", ds.PartOf: "(each part)"}.get(table, table.TABLE)
        for one in fields(table):
            if "key" in one.metadata and (
                one.name not in common or not issubclass(table, ds.PartOf) or table is ds.PartOf
            ):
                expected.append((name, one.name, one.metadata["key"].what, one.default))
    assert [(row[0], row[1], row[2]) for row in rows] == [row[:3] for row in expected]
    for (_, name, _, shown), (*_, default) in zip(rows, expected, strict=True):
        if default is MISSING:
            assert shown == "must be given"
        elif name != "name":
            assert tomllib.loads(f"x = {shown}")["x"] == (
                list(default) if isinstance(default, tuple) else default
            )
