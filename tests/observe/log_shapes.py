# SPDX-License-Identifier: GPL-2.0-or-later
"""One report of a failed allocation in every form in which logs reach people: tools, vendors, collectors, pages, editors.

The forms were found in public reports; the report itself is invented.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

REPORT = [
    "sh: page allocation failure: order:4, mode:0x40dc0(GFP_KERNEL|__GFP_COMP|__GFP_ZERO), nodemask=(null),cpuset=/"
    ",mems_allowed=0",
    "CPU: 1 PID: 20846 Comm: sh Not tainted 6.2.0-1009-generic #9",
    "Hardware name: QEMU",
    "Call trace:",
    " dump_stack+0x1c/0x48",
    "Mem-Info:",
    "active_anon:131 inactive_anon:1204 isolated_anon:0",
    " free:104900 free_pcp:0 free_cma:0",
    "Node 0 active_anon:524kB inactive_anon:4816kB all_unreclaimable? no",
    "Node 0 Normal free:420000kB boost:0kB min:39320kB low:49148kB high:58980kB reserved_highatomic:0KB present:734"
    "0032kB managed:7200000kB",
    "lowmem_reserve[]: 0 0 0 0",
    "Node 0 Normal: 60021*4kB (UME) 20011*8kB (UM) 1200*16kB (U) 2*32kB (M) 0*64kB 0*128kB 0*256kB 0*512kB 0*1024kB"
    " 0*2048kB 0*4096kB = 419436kB",
    "1234 total pagecache pages",
    "1835008 pages RAM",
    "0 pages HighMem/MovableOnly",
    "35008 pages reserved",
]
"""Its lines."""


def up(number: int) -> str:
    """Seconds since boot of a line."""
    return f"{85531.010995 + number * 1e-5:.6f}"


def each(form: Callable[[int, str], str]) -> str:
    """The report with its lines in a form."""
    return "\n".join(form(number, line) for number, line in enumerate(REPORT)) + "\n"


def journal(line: str, number: int) -> dict[str, object]:
    """An entry of the journal."""
    return {
        "__REALTIME_TIMESTAMP": "1550028724000000", "_SOURCE_MONOTONIC_TIMESTAMP": str(85531010995 + number * 10),
        "_TRANSPORT": "kernel", "PRIORITY": "4", "MESSAGE": line,
    }  # fmt: skip


PLAIN = each(lambda i, line: f"[{up(i)}] {line}")


def tagged(line: str) -> str:
    """A line as logcat tells tag and message apart."""
    tag, _, rest = line.partition(":")
    return f"{tag:8}: {rest.strip()}" if tag in ("sh", "CPU", "Mem-Info") else f"        : {line}"


ODD = {
    "Windows line ends": PLAIN.replace("\n", "\r\n"), "doubled carriage returns": PLAIN.replace("\n", "\r\r\n"),
    "UTF-16, as PowerShell writes it": ("\ufeff" + PLAIN.replace("\n", "\r\n")).encode("utf-16-le"),
    "UTF-16, big-endian": ("\ufeff" + PLAIN).encode("utf-16-be"),
    "blanks that do not break": PLAIN.replace(" ", "\xa0"),
    "stars taken for emphasis": re.sub(r"(\d)\*(\d+kB)", r"\1_\2", PLAIN),
    "Markdown's escapes": PLAIN.replace("*", "\\*").replace("_", "\\_"),
    "dmesg --color=always": each(
        lambda i, line: f"\x1b[32m[{up(i)}] \x1b[0m"
        + (f"\x1b[33m{line.split(':')[0]}: \x1b[0m{line.partition(': ')[2]}\x1b[0m" if ": " in line else line)
    ),
    "a terminal's colours": each(lambda i, line: f"\x1b[0;1;31m[{up(i)}] {line}\x1b[0m\x1b[K"),
    "rsyslog's escapes": each(lambda i, line: f"Feb 13 04:32:04 h kernel: #033[31m[{up(i)}] {line}"),
    "virsh console": each(lambda i, line: f"\r[{up(i)}] {line}\r"),
}  # fmt: skip

TOOLS: dict[str, Callable[[int, str], str]] = {
    "dmesg": lambda i, line: f"[{up(i)}] {line}",
    "dmesg -T": lambda i, line: f"[Wed Feb 13 04:32:04 2019] {line}",
    "dmesg -H": lambda i, line: f"[  +0.{i:06}] {line}" if i else f"[Feb13 04:32] {line}",
    "dmesg -d": lambda i, line: f"[{up(i)} <    0.000010>] {line}",
    "dmesg --time-format iso": lambda i, line: f"2019-02-13T04:32:04,{i:06}+01:00 {line}",
    "dmesg -r, kmsg": lambda i, line: f"<4>[{up(i)}] {line}",
    "dmesg -x": lambda i, line: f"kern  :warn  : [{up(i)}] {line}",
    "dmesg -xT": lambda i, line: f"kern  :warn  : [Wed Feb 13 04:32:04 2019] {line}",
    "syslog": lambda i, line: f"Feb 13 04:32:04 host7 kernel: [{up(i)}] {line}",
    "syslog without uptime": lambda _, line: f"Feb 13 04:32:04 host7 kernel: {line}",
    "RFC 5424": lambda i, line: f"<4>1 2019-02-13T04:32:04.123456+01:00 host7 kernel - - - [{up(i)}] {line}",
    "RFC 5424, stored": lambda _, line: f"1 2019-02-13T04:32:04.123456+01:00 host7 kernel - - - {line}",
    "rsyslog, ISO": lambda i, line: f"2019-02-13T04:32:04.123456+01:00 host7 kernel: [{up(i)}] {line}",
    "syslog-ng": lambda i, line: f"2019-02-13T04:32:04+01:00 host7 [{up(i)}] {line}",
    "journalctl -o cat": lambda _, line: line,
    "journalctl -o short-unix": lambda i, line: f"1550028724.{i:06} host7 kernel: {line}",
    "journalctl -o short-full": lambda _, line: f"Wed 2019-02-13 04:32:04 CET host7 kernel: {line}",
    "journalctl -o short-monotonic": lambda i, line: f"[{up(i)}] host7 kernel: {line}",
    "journal without the host": lambda _, line: f"kernel: {line}",
    "journalctl -o json": lambda i, line: json.dumps(journal(line, i)),
    "journalctl -o json, bytes": lambda i, line: json.dumps({**journal(line, i), "MESSAGE": list(line.encode())}),
    "journalctl -o json-pretty": lambda i, line: json.dumps(journal(line, i), indent=8),
    "journalctl -o json-seq": lambda i, line: "\x1e" + json.dumps(journal(line, i)),
    "journalctl -o json-sse": lambda i, line: f"data: {json.dumps(journal(line, i))}\n",
    "journalctl -o export": lambda i, line: f"__CURSOR=s=1;i={i}\nPRIORITY=4\nMESSAGE={line}\n_TRANSPORT=kernel\n",
    "journalctl -o verbose": lambda i, line: f"Wed 2019-02-13 04:32:04.123456 CET [s=1;i={i}]\n    MESSAGE={line}",
    "docker's json-file": lambda i, line: json.dumps({"log": f"[{up(i)}] {line}\n", "time": "2019-02-13T04:32:04Z"}),
    "CRI": lambda i, line: f"2019-02-13T04:32:04.123456789Z stdout F [{up(i)}] {line}",
    "CRI of syslog": lambda _, line: f"2019-02-13T04:32:04.123456789+01:00 stderr F Feb 13 04:32:04 host7 kernel: {line}",
    "kubectl logs --timestamps": lambda i, line: f"2019-02-13T04:32:04.123456789Z [{up(i)}] {line}",
    "kubectl logs --prefix": lambda i, line: f"[pod/node-log-x2/kmsg] [{up(i)}] {line}",
    "oc adm node-logs": lambda _, line: f"worker-0.example.test Feb 13 04:32:04.123456 worker-0 kernel: {line}",
    "docker compose logs": lambda i, line: f"kmsg-1  | [{up(i)}] {line}",
    "klog": lambda _, line: f"I0213 04:32:04.123456       1 kmsg.go:55] {line}",
    "pstore": lambda i, line: ("" if i else "Panic#1 Part1\n") + f"<4>[{up(i)}] {line}",
    "ramoops": lambda i, line: ("" if i else "====1550028724.123456-D\n") + f"<4>[{up(i)}] {line}",
    "printk's caller": lambda i, line: f"[{up(i)}][ T20846] {line}",
    "printk's callers": lambda i, line: f"[{up(i)}][ T20846@C1] {line}",
    "Android, MediaTek": lambda i, line: f"[{up(i)}] .(1)[20846:sh]{line}",
    "Android, last_kmsg": lambda i, line: f"<4>[{up(i)}]  (1)[20846:sh]{line}",
    "Android, c1": lambda i, line: f"<4>[{up(i)}] c1  20846 {line}",
    "Android, Samsung": lambda i, line: f"<4>[{up(i)}] I[1:             sh:20846] {line}",
    "Android, Huawei": lambda i, line: f"[{up(i)}s][pid:20846,cpu1,sh]{line}",
    "Android, Oppo": lambda i, line: f"[{up(i)}] [1550028724] [20846: sh]{line}",
    "logcat -b kernel": lambda _, line: f"02-13 04:32:04.123     0     0 W {tagged(line)}",
    "logcat of root": lambda i, line: f"02-13 04:32:04.123  root     0     0 W         : [{up(i)}] {line}",
    "OpenWrt's logread": lambda i, line: f"Wed Feb 13 04:32:04 2019 kern.warn kernel: [{up(i)}] {line}",
    "busybox": lambda _, line: f"Feb 13 04:32:04 router kern.warn kernel: {line}",
    "grep -n": lambda i, line: f"{1200 + i}:[{up(i)}] {line}",
    "grep -H": lambda _, line: f"/var/log/messages:Feb 13 04:32:04 host7 kernel: {line}",
    "grep -C": lambda i, line: f"m{'-' if i else ':'}{1200 + i}{'-' if i else ':'}Feb 13 04:32:04 h kernel: [{up(i)}] {line}",
    "cat -n": lambda i, line: f"  {1200 + i}\t[{up(i)}] {line}",
    "tabs": lambda i, line: f"\t\t[{up(i)}] {line}",
    "ts": lambda i, line: f"[2019-02-13 04:32:04] [{up(i)}] {line}",
    "minicom": lambda i, line: f"[2019-02-13 04:32:04.123] [{up(i)}] {line}",
    "xl console": lambda i, line: f"(d1) [{up(i)}] {line}",
    "a cloud's CSV": lambda i, line: f'1550028724000,"Feb 13 04:32:04 host7 kernel: [{up(i)}] {line}"',
    "Loki": lambda i, line: f'2019-02-13T04:32:04Z\t{{job="systemd-journal"}}\t[{up(i)}] {line}',
    "Elastic": lambda i, line: json.dumps({"@timestamp": "2019-02-13T04:32:04.000Z", "message": f"[{up(i)}] {line}"}),
    "a cloud's JSON": lambda _, line: json.dumps({"jsonPayload": {"MESSAGE": line}, "timestamp": "2019-02-13T04:32:04Z"}),
}  # fmt: skip
"""Forms of lines."""


def dmesg_json() -> str:
    """``dmesg -J`` of util-linux."""
    entries = ",".join(
        f'{{\n         "pri": 4,\n         "time": {up(i):>15},\n         "msg": {json.dumps(line)}\n      }}'
        for i, line in enumerate(REPORT)
    )
    return f'{{\n   "dmesg": [\n      {entries}\n   ]\n}}\n'


SHAPES: dict[str, str | bytes] = {
    **{name: each(form) for name, form in TOOLS.items()},
    **ODD,
    "dmesg -J": dmesg_json(),
    "dmesg -J, indented": json.dumps(
        {"dmesg": [{"fac": "kern", "pri": "warn", "msg": line} for line in REPORT]}, indent=3
    ),
}
"""By its name the whole log."""
