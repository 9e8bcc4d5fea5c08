# SPDX-License-Identifier: GPL-2.0-or-later
"""A process of this package that is told in lines of JSON and answers in such lines, and its own side of that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from kevacuate.errors import KevacuateError


class LineProcess:
    """A module of the package, run as a process; its standard input and output are lines of JSON.

    It is in a session of its own: signals from a terminal are its parent's to answer. It ends with its input.

    Raises
    ------
    KevacuateError
        It cannot be begun.
    """

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        path = os.pathsep.join(p for p in sys.path if p)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError as error:
            raise KevacuateError(
                f"A worker cannot be begun: {error.strerror or error}; try fewer --workers."
            ) from None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self.out = self.process.stdin, self.process.stdout
        self.dismissed = self.spoke = False
        self._rest = b""

    def tell(self, **values: Any) -> None:
        """Tell it something; nothing happens if it is gone."""
        with suppress(BrokenPipeError):
            self._in.write(json.dumps(values).encode() + b"\n")

    def heard(self) -> list[dict[str, Any]] | None:
        """What it has said since; None if it is gone."""
        data = os.read(self.out.fileno(), 1 << 16)
        if not data:
            return None
        self.spoke = True
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def dismiss(self) -> None:
        """It ends after what it was told."""
        self.dismissed = True
        with suppress(OSError):
            self._in.close()

    def deaf(self) -> None:
        """Nobody listens any more: it ends when it next says something."""
        self.dismiss()
        with suppress(OSError):
            self.out.close()

    def gone(self) -> str:
        """Wait for its end, and say how it ended."""
        with suppress(OSError):
            self._in.close()
        code = self.process.wait()
        self.out.close()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"

    def end(self) -> None:
        """End it now."""
        if self.process.poll() is None:
            self.process.kill()
        self.gone()


class Lines:
    """The process itself: what it is told, and lines on what was its standard output; other output goes to standard error."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)

    def told(self) -> Iterator[dict[str, Any]]:
        """What it is told, until its input ends."""
        for line in sys.stdin.buffer:
            yield json.loads(line)

    def say(self, **values: Any) -> None:
        """One line; the process ends where nobody listens any more."""
        try:
            self._file.write(json.dumps(values).encode() + b"\n")
        except BrokenPipeError:
            os._exit(0)
