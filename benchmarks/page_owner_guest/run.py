# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with a planted holder, as tests/data/page-owner holds it.

    python benchmarks/page_owner_guest/run.py --kernel arch/x86/boot/bzImage -o FOLDER

Builds init.c into an initramfs with busybox, boots it in qemu without KVM, and writes what the guest printed (two minutes):
page_owner, show_stacks and allocinfo, compressed with xz, and pagetypeinfo before and after the copy. Needs gcc with a static
C library, cpio, a static busybox, qemu-system-x86_64, and a kernel built with kernel.config: Debian's have no page_owner.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import lzma
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SECONDS = 600
TOOLS = ("sh", "cat", "gzip", "base64", "echo")
COMPRESSED = ("page_owner", "show_stacks", "allocinfo")


def initramfs(folder: Path, busybox: Path) -> Path:
    """An initramfs with init.c and busybox."""
    root = folder / "root"
    (root / "bin").mkdir(parents=True)
    subprocess.run(["gcc", "-O2", "-Wall", "-static", "-o", root / "init", HERE / "init.c"], check=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    for tool in TOOLS:
        (root / "bin" / tool).symlink_to("busybox")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"],
        cwd=root,
        input=names.encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    image = folder / "initramfs.gz"
    image.write_bytes(gzip.compress(packed.stdout))
    return image


def boot(kernel: Path, image: Path, memory: str, log: Path) -> str:
    """What the guest prints until it reboots."""
    machine = [
        "-M",
        "pc",
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        memory,
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
    ]
    words = "console=ttyS0 page_owner=on panic=-1 rdinit=/init"
    command = [
        "qemu-system-x86_64",
        *machine,
        "-serial",
        f"file:{log}",
        "-kernel",
        kernel,
        "-initrd",
        image,
        "-append",
        words,
    ]
    subprocess.run(command, check=True, timeout=SECONDS)
    return log.read_text(encoding="utf-8", errors="replace").replace("\r", "")


def main() -> None:
    """Boot, take apart, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--busybox", type=Path, default=Path("/bin/busybox"))
    parser.add_argument("--memory", default="160M")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        image = initramfs(Path(folder), given.busybox)
        said = boot(given.kernel, image, given.memory, Path(folder) / "console")
    for name, text in re.findall(r"=== (\S+)\n(.*?)=== end", said, re.DOTALL):
        if name == "pipes":
            print(f"{text.strip()} pipes")
            continue
        data = gzip.decompress(base64.b64decode(re.sub(r"[^A-Za-z0-9+/=]", "", text)))
        if name in COMPRESSED:
            (given.output / f"{name}.xz").write_bytes(lzma.compress(data))
        else:
            (given.output / name).write_bytes(data)


if __name__ == "__main__":
    main()
