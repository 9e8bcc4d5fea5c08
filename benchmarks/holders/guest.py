# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot a guest in which one holder is planted, and hold what `kevacuate holders` says of it against the guest's own /proc.

    python benchmarks/holders/guest.py OUT --kernel bzImage --initrd initrd.gz --vmlinux vmlinux --job dentries

OUT gets what the guest's /proc said, `holders.json` of the running guest (`--qemu`), and `dumped.json` of its dump. `pages.npz`
has what drgn read of each page of the dump; its numbers are those of `names.json`. `excerpt.json.xz` has the memory that names
the planted pages, for a test (excerpt.py). Needs QEMU (without KVM) and drgn. The dump is removed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "vmcore"))

import numpy as np
from boot import dump
from excerpt import take_excerpt

import kevacuate
from kevacuate.kernel.pageflags import KPF_PGTABLE, KPF_SLAB, flag, tails_as_heads
from kevacuate.kernelfiles.allocinfo import tags
from kevacuate.kernelfiles.text import TextFile
from kevacuate.kernelfiles.unread import Unread
from kevacuate.measure.holders import HeldPages
from kevacuate.recording.procfs import parse_slabinfo

SAID = b"== SAID"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    for name in ("kernel", "initrd", "vmlinux"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--job", default="dentries", choices=("dentries", "pipes", "sockets", "pages"))
    parser.add_argument("--memory", default="768M")
    parser.add_argument("--append", default="")
    return parser.parse_args()


def start(given: argparse.Namespace, monitor: Path) -> subprocess.Popen[bytes]:
    """Boot it; its console is the process's output."""
    port = f"file,id=out,path={given.out / 'said.tar'}"
    line = f"console=ttyS0 panic=-1 quiet no_timer_check job={given.job} {given.append}"
    machine = ["-M", "q35", "-cpu", "max", "-accel", "tcg", "-smp", "2", "-m", given.memory]
    files = ["-kernel", str(given.kernel), "-initrd", str(given.initrd), "-append", line]
    devices = ["-device", "vmcoreinfo", "-device", "virtio-serial-pci", "-chardev", port]
    devices += ["-device", "virtserialport,chardev=out,name=out"]
    rest = ["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"]
    rest += ["-qmp", f"unix:{monitor},server=on,wait=off"]
    return subprocess.Popen(
        ["nice", "-n", "15", "qemu-system-x86_64", *machine, *files, *devices, *rest],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


def compare(out: Path, found: dict[str, Any]) -> list[str]:
    """The answer beside what /proc said: pages of each cache, and of slabs and page tables in all."""
    with tarfile.open(out / "said.tar") as tar:
        tar.extractall(out, filter="data")
    caches = {
        name: pages for name, (_, _, pages) in parse_slabinfo((out / "said/slabinfo").read_text()).items()
    }
    words = np.frombuffer(
        subprocess.run(["zcat", out / "said/kpageflags.gz"], check=True, capture_output=True).stdout, "<u8"
    )
    words = tails_as_heads(words)
    rows = found["holders"]
    slabs = {row["name"]: row["pages"] for row in rows if row["kind"] == "slab"}
    tables = sum(row["pages"] for row in rows if row["kind"] == "page table")
    lines = [f"slab pages: {sum(slabs.values())}, kpageflags {int(flag(words, KPF_SLAB).sum())}"]
    lines.append(f"page tables: {tables}, kpageflags {int(flag(words, KPF_PGTABLE).sum())}")
    lines.append(f"slab pages by slabinfo: {sum(caches.values())}")
    largest = sorted(caches, key=lambda name: -caches[name])[:12]
    lines += [f"{name}: {slabs.get(name, 0)}, slabinfo {caches[name]}" for name in largest]
    lines += by_tag(out / "said/allocinfo", rows)
    apart = [name for name in caches if abs(slabs.get(name, 0) - caches[name]) > 8]
    return [*lines, f"caches more than 8 pages apart: {', '.join(apart) or 'none'}"]


def by_tag(allocinfo: Path, rows: list[dict[str, Any]]) -> list[str]:
    """Pages by allocation tag beside those of /proc/allocinfo, in which slabs and other named pages are, too."""
    if not allocinfo.exists():
        return []
    said = {
        f"{tag.file}:{tag.line} {f'[{tag.module}] ' if tag.module else ''}{tag.function}": tag.size // 4096
        for tag in tags(TextFile(allocinfo), Unread())
    }
    mine = {row["name"]: row["pages"] for row in rows if row["kind"] == "allocated by"}
    return [f"{name}: {pages}, allocinfo {said.get(name, 'none')}" for name, pages in mine.items()]


def keep(out: Path, pages: HeldPages) -> None:
    """What every page is."""
    np.savez_compressed(out / "pages.npz", code=pages.code.astype(np.int16), block_types=pages.block_types)
    (out / "names.json").write_text(json.dumps([(h.kind, h.name, h.also) for h in pages.holders]))


def ask(given: argparse.Namespace, monitor: Path) -> None:
    """Ask while it runs, and of a dump; print what differs."""
    begun = time.monotonic()
    live = kevacuate.holders(qemu=str(monitor), vmlinux=given.vmlinux)
    print(f"running guest read in {time.monotonic() - begun:.1f} s")
    (given.out / "holders.json").write_text(json.dumps(live.to_json(), indent=1))
    core = given.out / "vmcore"
    try:
        print("dump:", dump(monitor, core))
        dumped = kevacuate.holders(core, vmlinux=given.vmlinux)
        keep(given.out, dumped.pages)
        if given.job == "pages":
            take_excerpt(core, given.vmlinux, dumped, given.out / "excerpt.json.xz")
    finally:
        core.unlink(missing_ok=True)
    (given.out / "dumped.json").write_text(json.dumps(dumped.to_json(), indent=1))
    for name, found in (("running", live), ("dumped", dumped)):
        print(f"-- {name}: {found.blocks}")
        for row in found.rows[:8]:
            print("  ", row)
        print("\n".join(compare(given.out, found.to_json())))
        print(*found.pages.not_told, sep="\n")


def main() -> None:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    monitor = Path(os.path.relpath(given.out / "monitor"))
    guest = start(given, monitor)
    assert guest.stdout is not None
    try:
        with (given.out / "console").open("wb") as console:
            for line in iter(guest.stdout.readline, b""):
                console.write(line)
                console.flush()
                if SAID in line:
                    ask(given, monitor)
                    break
    finally:
        guest.kill()
        guest.wait()
        monitor.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
