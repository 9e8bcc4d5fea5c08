# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the blocks of the documentation as its readers would: in a shell, in a directory of their own, with the files they have.

Where a block is nothing but plain calls of ``kevacuate``, they are made in this process: a process for each would spend
most of its time starting. Everything else is bash's.

Names such as ``my-server.kev`` stand for the reader's own files. Here they are excerpts of recorded kernels.
"""

from __future__ import annotations

import contextlib
import doctest
import fcntl
import io
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doc_blocks import ROOT, Block, transcript

from kevacuate.cli import main

DATA = ROOT / "tests" / "data"
STAND_INS = {
    "my-server.kev": "one-cpu.kev",
    "stock.kev": "two-cpus.kev",
    "patched.kev": "one-cpu.kev",
    **{f"stock{i}.kev": "one-cpu.kev" for i in range(1, 5)},
    **{f"patched{i}.kev": "one-cpu.kev" for i in range(1, 5)},
    "pages": "raw-1cpu/trace",
    "formats": "raw-1cpu/formats",
    "trace.dat": "trace-cmd/live.v7.dat",
}
"""The reader's files, and what stands for them below tests/data."""
LONGEST, LONGEST_IN_MINUTES = 600, 7200
"""Seconds after which a block has failed; the second for one that needs minutes."""
PLAIN = re.compile(r"kevacuate [\w ./:,=-]*(#.*)?")
"""A line that needs no shell: the command, words, a comment."""
_ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Failed(AssertionError):
    """A block did not do what the page says."""


class Place:
    """A directory in which blocks run one after the other, and what their Python has defined so far."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.python: dict[str, Any] = {"__name__": "__docs__"}
        self.ran: list[Block] = []
        for name, source in STAND_INS.items():
            (directory / name).symlink_to(DATA / source)
        (directory / ".venv").symlink_to(sys.prefix)
        (directory / "examples").symlink_to(ROOT / "examples")
        (directory / "Makefile").write_text("all:\n\t@sleep 0.2\n")
        programs = directory / ".bin"
        programs.mkdir()
        if os.geteuid() == 0:
            sudo = programs / "sudo"
            sudo.write_text('#!/bin/sh\nexec "$@"\n')  # root's own would forget where kevacuate is
            sudo.chmod(0o755)
        path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        self.environment = {**os.environ, "PATH": os.pathsep.join(path), "NO_COLOR": "1", "MPLBACKEND": "Agg"}

    def run(self, block: Block) -> None:
        """Run a block.

        Raises
        ------
        Failed
            It failed, or printed something else than the page shows.
        """
        if block.language == "python":
            printed = self._python(block)
        elif block.language == "console":
            for command, expected in transcript(block.text):
                compare(block, expected, self._shell(block, command))
            printed = ""
        else:
            printed = self._shell(block, block.text)
        if block.output is not None:
            compare(block, block.output, printed)
        self.ran.append(block)

    def _python(self, block: Block) -> str:
        """Run Python in this process, with the names that earlier blocks of the page have defined; what it prints."""
        source = "\n" * block.line + block.text
        printed = io.StringIO()
        with self._here(), contextlib.redirect_stdout(printed):
            exec(compile(source, str(block.page), "exec"), self.python)  # a page of this very tree
        return printed.getvalue()

    def _plain(self, line: str) -> tuple[int, str, str]:
        """Call ``kevacuate`` in this process; (exit status, what it prints, what it says on stderr)."""
        out, err = io.StringIO(), io.StringIO()
        code: object = None
        with self._here(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(shlex.split(line, comments=True)[1:])
            except SystemExit as ended:
                code = ended.code
        return code if isinstance(code, int) else 1, out.getvalue(), err.getvalue()

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        """The directory and the variables that a shell would have."""
        before, variables = Path.cwd(), dict(os.environ)
        os.chdir(self.directory)
        os.environ.update(self.environment)
        try:
            yield
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ.update(variables)

    def _shell(self, block: Block, script: str) -> str:
        """Run a shell script that stops at the first command that fails; what it prints."""
        lines = script.splitlines()
        if not block.needs and len(lines) > 1 and all(PLAIN.fullmatch(line) for line in lines):
            return "".join(self._shell(block, line) for line in lines)
        words = ["bash", "-euo", "pipefail", "-c", script]
        where = ROOT if "clone" in block.needs else self.directory
        if not block.needs and PLAIN.fullmatch(script.strip()):
            code, printed, said = self._plain(script)
        elif "terminal" in block.needs:
            code, printed, said = _in_terminal(words, where, self.environment)
        else:
            done = subprocess.run(
                words, cwd=where, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                timeout=LONGEST_IN_MINUTES if "minutes" in block.needs else LONGEST, check=False,
            )  # fmt: skip
            code, printed, said = done.returncode, done.stdout, done.stderr
        if code != 0:
            raise Failed(f"{block}: exit status {code}\n{script}\n{printed[-2000:]}{said[-2000:]}")
        return printed


def compare(block: Block, expected: str, printed: str) -> None:
    """Fail unless *printed* is what the page shows; ``...`` there stands for anything, white space is one space."""
    if not expected.strip():
        return
    checker = doctest.OutputChecker()
    if not checker.check_output(expected, printed, _ELLIPSIS):
        example = doctest.Example(block.text, expected)
        raise Failed(f"{block}: {checker.output_difference(example, printed, doctest.REPORT_NDIFF)}")


def _in_terminal(words: list[str], where: Path, environment: dict[str, str]) -> tuple[int, str, str]:
    """Run in a terminal of 80x24 whose user presses q once something is shown; (exit status, what was shown, "")."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    child = subprocess.Popen(
        words, cwd=where, env=environment | {"TERM": "xterm-256color"}, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    end = time.monotonic() + LONGEST
    try:
        while time.monotonic() < end and child.poll() is None:
            if select.select([ours], [], [], 0.5)[0]:
                with contextlib.suppress(OSError):
                    shown += os.read(ours, 1 << 16)
            elif shown:
                os.write(ours, b"q")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait()
        os.close(ours)
    return code, shown.decode(errors="replace"), ""
