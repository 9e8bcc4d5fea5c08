# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own fragmentation index in five states of a guest, as tests/data/kernel_states holds them.

    python benchmarks/extfrag_guest/run.py --kernel VMLINUZ [--memory 192M] -o tests/data/kernel_states/linux-6.1.txt

Builds states.c into an initramfs, boots it in qemu without KVM (15 to 30 s), and keeps what the guest printed: /proc/buddyinfo,
extfrag_index and unusable_index of debugfs when it is fresh, when every second page is locked, after requests of high order,
when it is nearly full, and when almost nothing is left; then the kernel's reports of failed allocations and of the OOM killer.
Backtraces and registers are left out. Now and then the largest request finds a chunk, and no allocation fails, or the kernel
panics at the edge, where its first process alone is left: run it again.

Needs gcc with a static C library, cpio, qemu-system-x86_64, and a kernel with CONFIG_DEBUG_FS, CONFIG_COMPACTION and CONFIG_VT
(Debian's have them: linux-image-*.deb or linux-binary-*.deb, unpacked).
"""

from __future__ import annotations

import argparse
import gzip
import re
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 600
NOT_KEPT = ("pagetypeinfo", "zoneinfo")
_BACKTRACE = re.compile(r"\[ *\d+\.\d+\] (?: .*\+0x|(?!CPU)[A-Z0-9_]{2,8}: |Code: )")


def initramfs(folder: Path) -> Path:
    """An initramfs whose init is states.c, and the folders that it mounts on."""
    root = folder / "root"
    for name in ("proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    subprocess.run(["gcc", "-O2", "-Wall", "-static", "-o", root / "init", HERE / "states.c"], check=True)
    names = "\n".join([".", *sorted(path.name for path in root.iterdir())])
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"],
        cwd=root,
        input=names.encode(),
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    image = folder / "initramfs.gz"
    image.write_bytes(gzip.compress(packed))
    return image


def boot(kernel: Path, image: Path, memory: str, log: Path) -> str:
    """What a guest prints on its serial console until it powers off."""
    words = "console=ttyS0,115200 ignore_loglevel panic=5 nokaslr"
    command = [
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-m",
        memory,
        "-smp",
        "1",
        "-nodefaults",
        "-vga",
        "std",
        "-display",
        "none",
    ]
    command += [
        "-serial",
        f"file:{log}",
        "-kernel",
        str(kernel),
        "-initrd",
        str(image),
        "-append",
        words,
        "-no-reboot",
    ]
    subprocess.run(command, timeout=SECONDS, check=True)
    return log.read_text(errors="replace").replace("\r", "")


def kept(text: str) -> str:
    """What the tests read of it."""
    lines, keep = [], True
    for line in text[text.index("--- version") :].splitlines():
        if line.startswith(("--- ", "=== ")):
            keep = line[4:] not in NOT_KEPT
        if keep and not _BACKTRACE.match(line):
            lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kernel", type=Path, required=True, help="vmlinuz")
    parser.add_argument("--memory", default="192M")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = boot(given.kernel, initramfs(Path(folder)), given.memory, Path(folder, "console"))
    if "=== DONE" not in text:
        raise SystemExit("The guest did not come to its end: " + text[-500:])
    given.output.write_text(kept(text))


if __name__ == "__main__":
    main()
