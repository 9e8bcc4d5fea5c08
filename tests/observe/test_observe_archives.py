# SPDX-License-Identifier: GPL-2.0-or-later
"""A sosreport and a must-gather in their true layouts, unpacked and as they were sent; hostile archives."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from log_shapes import PLAIN, REPORT, SHAPES, up
from test_observe_monitors import sar

import kevacuate
from kevacuate.errors import KevacuateError
from kevacuate.observe.files import archives
from kevacuate.recording.atomic_write import leftovers, temporary_place

BUDDY = "Node 0, zone   Normal  60021  20011   1200      2      0      0      0      0      0      0      0\n"
KUBELET = "I0213 04:32:04.123456    2201 kubelet.go:2203] node worker-0 is ready\n"
CURRENT = '2019-02-13T04:32:04.123456789Z {"level":"info","msg":"compacted raft log"}\n'
SOS = "sosreport-host7-2019-02-13-abcdefg"
GATHER = "must-gather.local.4711/quay-io-example-must-gather-sha256-0a1b"


def syslog(report: list[str] = REPORT) -> str:
    return "".join(f"Feb 13 04:32:04 host7 kernel: {line}\n" for line in report)


def sosreport() -> dict[str, bytes]:
    """What sos keeps of memory and logs (its plugins memory, kernel, logs, sar): the log's report stands in it four times."""
    quiet = "".join(f"[{i}.000000] usb 1-1: new device {i}\n" for i in range(40))
    texts = {
        "proc/buddyinfo": BUDDY,
        "proc/vmstat": "nr_free_pages 105000\ncompact_stall 200\ncompact_fail 150\nallocstall_normal 7\n",
        "proc/meminfo": "MemTotal:        7200000 kB\nMemFree:          420000 kB\n",
        "proc/slabinfo": "slabinfo - version: 2.1\ndentry 10 20 192 21 1 : tunables 0 0 0 : slabdata 1 1 0\n",
        "proc/cmdline": "root=/dev/sda1 ro\n",
        "sys/devices/system/node/node0/vmstat": "nr_free_pages 4\ncompact_stall 1\n",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
        "sos_commands/memory/free": "              total        used        free\nMem:        7200000     6000000      420000\n",
        "sos_commands/kernel/dmesg": quiet + PLAIN,
        "sos_commands/kernel/dmesg_-T": "".join(f"[Wed Feb 13 04:32:04 2019] {line}\n" for line in REPORT),
        "sos_commands/logs/journalctl_--no-pager_--boot": str(SHAPES["journalctl -o short-full"]),
        "sos_commands/sar/sar13": sar("02/13/19"),
        "sos_commands/networking/ip_addr": "1: lo: <LOOPBACK,UP> mtu 65536\n",
        "var/log/messages": "Feb 13 04:32:00 host7 systemd[1]: Started x.\n" * 30 + syslog(),
        "sos_reports/sos.txt": "sos report\n",
    }
    found = {name: text.encode() for name, text in texts.items()}
    found["var/log/messages-20190210.gz"] = gzip.compress(
        b"Feb 10 04:32:00 host7 systemd[1]: Started x.\n" * 30
    )
    return found


def tar(files: dict[str, bytes], mode: str = "w:gz", root: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{root}{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def must_gather() -> dict[str, bytes]:
    """What openshift/must-gather keeps of nodes: dmesg, a gzipped journal of kubelet's, sysinfo.tgz with files of /proc."""
    later = [
        line.replace("PID: 20846", "PID: 311").replace("free:420000kB", "free:420004kB") for line in REPORT
    ]
    dmesg = {
        "worker-0.example.test": "".join(f"[{up(i)}] {line}\n" for i, line in enumerate(REPORT)),
        "worker-1.example.test": "".join(f"[{up(i)}] {line}\n" for i, line in enumerate(later)),
    }
    found: dict[str, bytes] = {
        "version": b"openshift/must-gather\n4.17.0\n", "timestamp": b"2019-02-13 04:40:00 +0000 UTC\n",
        "host_service_logs/masters/kubelet_service.log": f"Feb 13 04:32:04.000000 m kubenswrapper[1]: {KUBELET}".encode() * 9,
        "namespaces/openshift-etcd/pods/etcd-master-0/etcd/etcd/logs/current.log": CURRENT.encode() * 9,
        "cluster-scoped-resources/core/nodes/worker-0.example.test.yaml": b"apiVersion: v1\nkind: Node\n",
    }  # fmt: skip
    for node, text in dmesg.items():
        inside = {
            "proc/meminfo": b"MemTotal:        7200000 kB\nMemFree:          420000 kB\n",
            "proc/cmdline": b"ro\n",
        }
        found |= {
            f"nodes/{node}/dmesg": text.encode(),
            f"nodes/{node}/proc_cmdline": b"root=/dev/sda1 ro\n",
            f"nodes/{node}/lscpu": b"CPU NODE SOCKET CORE ONLINE\n0 0 0 0 yes\n",
            f"nodes/{node}/{node}_logs_kubelet.gz": gzip.compress(KUBELET.encode() * 9),
            f"nodes/{node}/sysinfo.tgz": tar(inside),
        }
    return found


def unpack(files: dict[str, bytes], root: Path) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def kinds(found: dict[str, Any]) -> dict[str, Any]:
    return {answer["kind"]: answer for answer in found["answers"]}


def names(found: dict[str, Any]) -> set[str]:
    return {one["file"].rpartition("/")[2] for one in found["not_read"]}


@pytest.mark.parametrize("form", ["folder", "w:xz", "w:gz", "w:bz2", "w"])
def test_a_sosreport(form: str, tmp_path: Path) -> None:
    """One report in four logs; the node's counters are not the machine's; what is no file of memory is named."""
    given = tmp_path / SOS
    if form == "folder":
        unpack(sosreport(), given)
    else:
        given = tmp_path / f"{SOS}.tar"
        given.write_bytes(tar(sosreport(), form, f"{SOS}/"))
    found = kevacuate.triage(given)
    told = kinds(found)
    assert set(told) == {"kernel_log", "proc", "monitors"}
    log = told["kernel_log"]
    assert (log["failures"], log["copies"], log["verdicts"]) == (1, 3, {"fragmentation": 1})
    (machine,) = told["proc"]["machines"]
    assert machine["counters"]["counters"]["compact_stall"]["count"] == 200
    assert machine["free"]["zones"][0]["last"]["fragmentation_index"][4] == 920
    assert machine["slab"]["pages"] == 1
    assert told["monitors"]["hosts"][0]["figures"]["free_kb"]["samples"] == 3
    assert names(found) == {"cmdline", "enabled", "free", "ip_addr", "sos.txt"}
    assert len(found["advice"]) == 2
    assert not leftovers(temporary_place())


def test_the_order_of_files_makes_no_difference(tmp_path: Path) -> None:
    root = unpack(sosreport(), tmp_path / SOS)
    unpack(must_gather(), tmp_path / GATHER)
    files = sorted(path for path in (*root.rglob("*"), *(tmp_path / GATHER).rglob("*")) if path.is_file())
    wanted = kevacuate.triage(files)
    for seed in range(4):
        random.Random(seed).shuffle(files)
        assert json.dumps(kevacuate.triage(files)) == json.dumps(wanted)


@pytest.mark.parametrize("form", ["folder", "w:gz"])
def test_a_must_gather(form: str, tmp_path: Path) -> None:
    """Two nodes, one report each at the same time since boot: two reports, by file; sysinfo.tgz is looked into."""
    given = tmp_path / "must-gather"
    if form == "folder":
        unpack(must_gather(), given / GATHER)
    else:
        given.write_bytes(tar(must_gather(), form, f"{GATHER}/"))
    found = kevacuate.triage(given)
    told = kinds(found)
    log = told["kernel_log"]
    assert (log["failures"], log["copies"]) == (2, 0)
    assert sorted(one["file"].rpartition("/")[0].rpartition("/")[2] for one in log["by_file"]) == [
        "worker-0.example.test",
        "worker-1.example.test",
    ]
    machines = told["proc"]["machines"]
    assert [machine["memory"]["values"]["MemFree"]["last"] for machine in machines] == [420000, 420000]
    assert all(
        f"worker-{i}.example.test/sysinfo.tgz" in machine["name"] for i, machine in enumerate(machines)
    )
    assert {"version", "timestamp", "lscpu", "proc_cmdline", "cmdline"} <= names(found)


def test_links_and_paths_of_an_archive_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(BUDDY)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (
            ("link", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("dev", tarfile.CHRTYPE),
            ("pipe", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
        for name in ("../../out", "/abs", "x" * 200):
            member = tarfile.TarInfo(name)
            member.size = len(BUDDY)
            archive.addfile(member, io.BytesIO(BUDDY.encode()))
    found = kevacuate.triage(tmp_path / "a.tar")
    assert len(kinds(found)["proc"]["files"]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "secret"]
    assert not (tmp_path.parent / "out").exists()


def test_archives_in_archives_end(tmp_path: Path) -> None:
    data = {"proc/buddyinfo": BUDDY.encode()}
    for depth in range(archives.DEEPEST + 2):
        data = {f"level{depth}.tgz": tar(data), **({"proc/buddyinfo": BUDDY.encode()} if not depth else {})}
    path = tmp_path / "deep.tar"
    path.write_bytes(tar(data))
    with pytest.raises(KevacuateError, match="is an archive"):
        kevacuate.triage(path)


def test_an_archive_that_is_too_large_is_read_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 17)
    big = (BUDDY * 2000).encode()
    path = tmp_path / "big.tar.gz"
    path.write_bytes(tar({f"t{i}/buddyinfo": big for i in range(5)}))
    found = kevacuate.triage(path)
    assert [one["what"] for one in found["not_read"]] == [
        "an archive, unpacked in part: it holds more than 200,000 files, or 0 GiB."
    ]


def test_damaged_archives_give_an_answer_or_a_sentence(tmp_path: Path) -> None:
    path, draw = tmp_path / "sos.tar", random.Random(5)
    wholes = [tar(sosreport(), "w"), tar(sosreport(), "w:gz"), tar(must_gather(), "w")]
    answers = 0
    for number in range(90):
        data = bytearray(wholes[number % 3])
        for _ in range(draw.randint(0, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.randrange(len(data))] if draw.random() < 0.5 else data)
        try:
            found = kevacuate.triage(path)
        except KevacuateError as error:
            said = str(error)
        else:
            answers += 1
            said = json.dumps(found["not_read"])
        assert "\n" not in said
    assert answers > 30
    assert not leftovers(temporary_place())
