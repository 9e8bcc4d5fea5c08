# SPDX-License-Identifier: GPL-2.0-or-later
"""Real trace.dat files: raw pages of an own tracefs instance or of a recording, put together by trace-cmd itself.

The global trace buffer is never touched, nor any setting: trace-cmd only packs what was read from an instance
that is made here and removed again.
"""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRACEFS = Path("/sys/kernel/tracing")
SYSTEMS = ("kmem/mm_*", "compaction/mm_*", "migrate/*", "vmscan/*")


def missing() -> str:
    """Why no trace can be recorded here, "" if it can."""
    if shutil.which("trace-cmd") is None:
        return "trace-cmd is not installed"
    if os.geteuid() != 0:
        return "tracing needs root"
    try:
        if not (TRACEFS / "instances").is_dir():
            return f"tracefs is not mounted at {TRACEFS}"
    except OSError:
        return f"{TRACEFS} cannot be read"
    return ""


@contextmanager
def instance(kilobytes: int) -> Iterator[Path]:
    """An own tracefs instance, stopped, with *kilobytes* of buffer for each CPU."""
    path = TRACEFS / "instances" / f"kevacuate-test-{os.getpid()}"
    path.mkdir()
    try:
        (path / "tracing_on").write_text("0")
        (path / "buffer_size_kb").write_text(str(kilobytes))
        for pattern in SYSTEMS:
            for event in (path / "events").glob(f"{pattern}/enable"):
                event.write_text("1")
        yield path
    finally:
        path.rmdir()


def touch(pages: int) -> None:
    """Allocate and free that many pages, a few MiB at a time."""
    step = 4096
    for first in range(0, pages, step):
        with mmap.mmap(-1, step * 4096) as memory:
            for page in range(min(step, pages - first)):
                memory[page * 4096] = 1


def copy_raw(path: Path, target: Path) -> list[Path]:
    """Each CPU's sub-buffers as they lie in the instance, and its clock and statistics."""
    files = []
    target.mkdir(parents=True, exist_ok=True)
    for cpu in sorted((path / "per_cpu").iterdir(), key=lambda p: int(p.name[3:])):
        (target / f"{cpu.name}.stats").write_text((cpu / "stats").read_text())
        files.append(target / f"{cpu.name}.raw")
        source = os.open(cpu / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
        try:
            with files[-1].open("wb") as out:
                while True:
                    try:
                        data = os.read(source, 4096)
                    except BlockingIOError:
                        break
                    if not data:
                        break
                    out.write(data.ljust(4096, b"\0"))
        finally:
            os.close(source)
    return files


def tracing_directory(target: Path, events: Path, headers: Path) -> Path:
    """A directory that looks like tracefs, with the format files below *events* (SYSTEM/EVENT[/format])."""
    for name in ("header_page", "header_event"):
        (target / "events").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(headers / name, target / "events" / name)
    for pattern in SYSTEMS:
        for event in events.glob(f"{pattern}" if pattern.startswith("kmem") else pattern):
            file = event / "format" if event.is_dir() else event
            if file.is_file() and event.name not in ("enable", "filter"):
                place = target / "events" / event.parent.name / event.name
                place.mkdir(parents=True)
                shutil.copyfile(file, place / "format")
    for event in events.glob("kmem/gt_*"):
        place = target / "events" / "kmem" / event.name
        place.mkdir(parents=True)
        shutil.copyfile(event, place / "format")
    ftrace = target / "events" / "ftrace" / "print"
    ftrace.mkdir(parents=True)
    (ftrace / "format").write_text(
        "name: print\nID: 5\nformat:\n"
        "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
        "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
        "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
        "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
        "\tfield:unsigned long ip;\toffset:8;\tsize:8;\tsigned:0;\n"
        "\tfield:char buf[];\toffset:16;\tsize:0;\tsigned:0;\n\n"
        'print fmt: "%ps: %s", (void *)REC->ip, REC->buf\n'
    )
    for name in ("printk_formats", "saved_cmdlines"):
        (target / name).write_text("")
    return target


def trace_cmd(*args: object) -> str:
    """Run trace-cmd; its output."""
    words = ["trace-cmd", *(str(a) for a in args)]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=600).stdout


def restore(target: Path, tracing: Path, raw: list[Path], work: Path) -> Path:
    """The trace.dat that trace-cmd makes of raw files (version 7, not compressed)."""
    symbols = work / "kallsyms"
    symbols.write_text("0000000000000000 T _text\n")
    trace_cmd("restore", "-c", "-t", tracing, "-k", symbols, "-o", work / "head.dat")
    trace_cmd("restore", "-o", target, "-i", work / "head.dat", *raw)
    return target
