# SPDX-License-Identifier: GPL-2.0-or-later
"""Which kernel a text is of: what it says, and what its lines prove, before any of them is read as an event.

A heading may name the release. Lines prove a range of versions: events and words that exist only then
(:mod:`kevacuate.kernel.events`), and the migratetype of a request whose flags are GFP_HIGHUSER_MOVABLE.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

from kevacuate.errors import KevacuateError
from kevacuate.kernel import events, migratetypes
from kevacuate.kernel.versions import ANY_KERNEL, OLDEST, KernelRange, Version, parse_version, version_text
from kevacuate.recording.opener import open_any
from kevacuate.recording.ringbuf import read_into

BLOCK_BYTES = 1 << 20
SEARCHED_BYTES = 1 << 24
"""Of a longer file only what proves the migratetypes is looked for behind these bytes."""

GIVEN, NAMED, PROVEN, ASSUMED = "given", "named", "proven", "assumed"
"""How the kernel is known: --kernel, the file's heading, its lines, or not at all."""

_IN_LOGS = (b"Linux version ", b" Comm: ")
"""What stands in a line of a kernel log that names the release."""

_MOVABLE = re.compile(rb"migratetype=([12])\b[^\n]{0,200}?gfp_flags=(?:GFP_HIGHUSER_MOVABLE|GFP_TRANSHUGE)")
_OLD_FREES = re.compile(rb"\b(?:mm_page_free_direct|mm_pagevec_free): ")
_HIGHMEM = re.compile(rb"\b(?:zone|\w{3,12}_?zone_?idx|zid)=HighMem\b")
_EVENT_NAME = re.compile(rb"\b(mm_\w{1,60}|gt_\w{1,20}|\w{3,6}_migration_pte): ")
_BUFFER = re.compile(rb"^ *([^\s:]{1,64}): [^\n]{16}-\d{1,10} ", re.MULTILINE)
"""An instance's name before a line of ``trace-cmd report``: the task's name behind it is set to 16 columns, longer than any."""


class Kernel(NamedTuple):
    """What is known of the kernel that a text is of."""

    release: str
    """Its release, "" if not named."""
    versions: KernelRange
    """The versions that it can be."""
    how: str
    """GIVEN, NAMED, PROVEN or ASSUMED."""


@lru_cache(maxsize=64)
def _line_with(event: str, text: str) -> re.Pattern[bytes]:
    """What finds the text in a line of the event, at its beginning behind a ^."""
    words = re.escape(_words(text)) + (rb"\s" if text.endswith(" ") else b"")
    before = rb" *" if text.startswith("^") else rb"[^\n]{0,300}?"
    return re.compile(rb"\b%s: %s%s" % (event.encode(), before, words))


def _words(text: str) -> bytes:
    """The text that such an entry asks for, without its marks."""
    return text.removeprefix("^").rstrip().encode()


class _Proofs:
    """The range of versions that the lines seen so far allow."""

    def __init__(self) -> None:
        self.first: Version | None = None
        self.last: Version | None = None
        self.movable = 0
        self._names = {name.encode(): proof for name, proof in events.BY_EVENT.items()}
        self._texts = dict.fromkeys(events.BY_TEXT)

    def add(self, block: bytes, whole: bool) -> None:
        """Look through a block of lines; *whole*: for every proof, not only for those of migratetypes."""
        found = _MOVABLE.search(block)
        if found and not self.movable:
            self.movable = int(found[1])
        if not whole:
            if _OLD_FREES.search(block):
                self._narrow(events.BY_EVENT["mm_page_free_direct"])
            return
        for name in set(_EVENT_NAME.findall(block)) & self._names.keys():
            self._narrow(self._names.pop(name))
        for entry in list(self._texts):
            name, text, proof = entry
            if not self._says_more(proof):
                del self._texts[entry]
            elif _words(text) in block and _line_with(name, text).search(block):
                self._narrow(proof)
                del self._texts[entry]

    def _says_more(self, proof: events.Proof) -> bool:
        """Whether a proof would narrow the range, and not contradict it."""
        lower = proof.first is not None and (self.first is None or proof.first > self.first)
        upper = proof.last is not None and (self.last is None or proof.last < self.last)
        above = proof.first is not None and self.last is not None and proof.first > self.last
        below = proof.last is not None and self.first is not None and proof.last < self.first
        return (lower or upper) and not above and not below

    def _narrow(self, proof: events.Proof) -> None:
        if proof.first is not None:
            self.first = max(self.first or proof.first, proof.first)
        if proof.last is not None:
            self.last = min(self.last or proof.last, proof.last)

    @property
    def settled(self) -> bool:
        """Whether the numbering of migratetypes is known."""
        return bool(self.movable) or (self.last is not None and self.last <= migratetypes.SWAPPED_UNTIL)

    def range(self) -> KernelRange:
        """The versions that are possible; of contradictory proofs, the migratetype of a movable request counts."""
        first: Version | None = self.first
        last: Version | None = self.last
        old, new = migratetypes.SWAPPED_UNTIL, migratetypes.SWAPPED_FIRST
        if self.movable == 2:
            last = old if last is None else min(last, old)
        elif self.movable == 1:
            first = new if first is None else max(first, new)
        if first is not None and last is not None and first > last:
            return KernelRange(first, None) if self.movable == 1 else KernelRange(None, last)
        return KernelRange(first, last)


class Survey:
    """What a look through a text shows before it is read.

    Parameters
    ----------
    path : Path
        The file.
    facts : iterable of (str, pattern)
        Lines that say what the machine is; those of the key ``kernel`` are used.

    """

    def __init__(self, path: Path, facts: Iterable[tuple[str, re.Pattern[str]]]) -> None:
        self.release = ""
        self.ours = False
        """Whether it is this program's own export: its numbers and names are those of Linux 7.2."""
        self.highmem = False
        """Whether the lines of that part name the zone HighMem, which 32-bit kernels have."""
        self.buffers: set[str] = set()
        """Names of instances before lines of the part that is searched for everything."""
        self._patterns = [pattern for key, pattern in facts if key == "kernel"]
        self._proofs = _Proofs()
        with closing(open_any(path)[0]) as file:
            seen = 0
            for block in _blocks(file, path):
                self._name(block, seen)
                if self.ours or (seen >= SEARCHED_BYTES and self._proofs.settled):
                    break
                self._proofs.add(block, seen < SEARCHED_BYTES)
                if seen < SEARCHED_BYTES:
                    self.highmem = self.highmem or bool(_HIGHMEM.search(block))
                    self.buffers |= {name.decode("utf-8", "replace") for name in set(_BUFFER.findall(block))}
                seen += len(block)

    def _name(self, block: bytes, seen: int) -> None:
        """The release, if the heading (or the first MiB of a kernel log) names it."""
        if seen:
            return
        for raw in block.split(b"\n"):
            if not raw.lstrip(b" \xef\xbb\xbf").startswith(b"#") and not any(
                word in raw for word in _IN_LOGS
            ):
                continue
            line = raw[:400].decode("utf-8", "replace").strip()
            self.ours = self.ours or line.startswith("# exported by kevacuate ")
            for pattern in () if self.release else self._patterns:
                if match := pattern.match(line):
                    self.release = match[1]

    def kernel(self, given: str | None, path: Path) -> Kernel:
        """The kernel, of what the user says of it, the heading and the lines.

        Raises
        ------
        KevacuateError
            If what the user says is no version, or the lines prove another numbering of migratetypes.

        """
        proven = ANY_KERNEL if self.ours else self._proofs.range()
        if given is not None:
            chosen = given_version(given)
            _refuse_contradiction(chosen, self._proofs, given, path)
            return Kernel(given, KernelRange(chosen, chosen), GIVEN)
        version = parse_version(self.release)
        if self.ours:
            return Kernel(self.release, ANY_KERNEL, NAMED)
        if version is not None:
            version = max(version, OLDEST)  # Red Hat's 2.6.32 has the events, as 2.6.33 numbers them
        if version is not None and not _contradicts(version, self._proofs):
            return Kernel(self.release, KernelRange(version, version), NAMED)
        return Kernel(self.release, proven, PROVEN if proven != ANY_KERNEL else ASSUMED)


def given_version(text: str) -> Version:
    """The version that --kernel names.

    Raises
    ------
    KevacuateError
        If it is none, or older than any that is known.

    """
    version = parse_version(text)
    if version is None or version < OLDEST:
        raise KevacuateError(
            f"--kernel {text} is not a version from {version_text(OLDEST)} on: give it as uname -r prints it, like 5.4 or "
            "3.10.0-693.el7."
        )
    return version


def _contradicts(version: Version, proofs: _Proofs) -> bool:
    """Whether a movable request has another migratetype than a kernel of that version gives it."""
    names = migratetypes.names(version)
    return bool(proofs.movable and names and names[proofs.movable] != "movable")


def _refuse_contradiction(version: Version, proofs: _Proofs, given: str, path: Path) -> None:
    if _contradicts(version, proofs):
        other = "4.3 or older" if proofs.movable == 2 else "4.4 or later"
        raise KevacuateError(
            f"{path} is not of Linux {given}: its GFP_HIGHUSER_MOVABLE requests have migratetype {proofs.movable}, as in "
            f"{other}. Correct --kernel or leave it out."
        )


def _blocks(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The file in blocks of whole lines; a line that is longer than a block is cut."""
    buffer, rest = memoryview(bytearray(BLOCK_BYTES)), b""
    while size := read_into(file, path, buffer):
        data = rest + bytes(buffer[:size])
        end = data.rfind(b"\n") + 1 or len(data)
        yield data[:end]
        rest = data[end:]
    if rest:
        yield rest
