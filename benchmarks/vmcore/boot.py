# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot a kernel in qemu without KVM, run SHARE/job in it, and dump its memory to SHARE/vmcore-N each time it holds still."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

HOLDING, OFF = b"== HOLDING", b"== POWEROFF"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "share", type=Path, help="directory that the guest sees as /host; has the script 'job'"
    )
    parser.add_argument("--kernel", type=Path, required=True, help="vmlinuz")
    parser.add_argument("--initrd", type=Path, required=True, help="what make_initrd.sh made")
    parser.add_argument("--cpus", default="2")
    parser.add_argument("--memory", default="512M")
    parser.add_argument("--append", default="", help="more for the kernel's command line")
    return parser.parse_args()


def command_line(given: argparse.Namespace, monitor: Path) -> list[str]:
    share = f"local,path={given.share},mount_tag=host,security_model=none"
    return [
        *(
            "nice",
            "qemu-system-x86_64",
            "-M",
            "q35",
            "-cpu",
            "max",
            "-accel",
            "tcg",
            "-smp",
            given.cpus,
            "-m",
            given.memory,
        ),
        *("-kernel", str(given.kernel), "-initrd", str(given.initrd)),
        *(
            "-append",
            f"console=ttyS0 panic=-1 quiet {given.append}",
            "-device",
            "vmcoreinfo",
            "-virtfs",
            share,
        ),
        *(
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
            "-qmp",
            f"unix:{monitor},server=on,wait=off",
        ),
    ]


def dump(monitor: Path, target: Path) -> Any:
    """Have qemu write the guest's memory, while it stands still; qemu's answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(monitor))
        stream = connection.makefile("rw")
        stream.readline()
        wanted = {"paging": False, "protocol": f"file:{target}"}
        answer: Any = {}
        for name, values in (("qmp_capabilities", {}), ("dump-guest-memory", wanted)):
            stream.write(json.dumps({"execute": name, "arguments": values}) + "\n")
            stream.flush()
            answer = json.loads(stream.readline())
            while "event" in answer:
                answer = json.loads(stream.readline())
        return answer


def main() -> None:
    given = arguments()
    monitor = given.share / "monitor"
    guest = subprocess.Popen(command_line(given, monitor), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert guest.stdin is not None
    assert guest.stdout is not None
    number = 0
    with (given.share / "console").open("wb") as console:
        for line in iter(guest.stdout.readline, b""):
            console.write(line)
            console.flush()
            if HOLDING in line:
                time.sleep(2)  # so that it has read what it reads before it holds still
                number += 1
                print(f"vmcore-{number}:", dump(monitor, given.share / f"vmcore-{number}"), flush=True)
                guest.stdin.write(b"\n")
                guest.stdin.flush()
            if OFF in line:
                break
    guest.wait(60)


if __name__ == "__main__":
    main()
