# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of kernel logs: what stands before the kernel's words, by whatever wrote the log, and lines that were joined.

Read are dmesg (plain, ``-T``, ``-x``, ``-e``, ``--time-format iso``), syslog, journalctl (short, iso, full, monotonic), OpenWrt's
logread, netconsole and /dev/kmsg (extended, with ``caller=``), serial consoles with ``<4>`` levels, printk's caller ids, vendors'
``[CPU: task: pid]``, quoted mail, and journalctl's JSON. rsyslog writes a message of several lines as one, with ``#012``
between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

_CLOCK_SYSLOG = r"[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d{1,9})?(?: \d{4})?"
_CLOCK_ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z| ?[+-]\d\d:?\d\d| [A-Z]{2,5})?"
_CLOCK = rf"(?:[A-Z][a-z]{{2}} )?(?:{_CLOCK_SYSLOG}|{_CLOCK_ISO})"

_PREFIX = re.compile(
    " *(?:"
    + "|".join(
        (
            r"(?:[>|] ?)+",
            r"<\d{1,3}>",
            r"(?:kern|user|daemon|syslog) *:[a-z]+ *: ",
            r"\d{1,3},\d{1,20},(?P<kmsg>\d{1,18}),[-c+](?:,caller=(?P<by>[TC]\d+))?(?:,[^;]{0,80})?;",
            rf"(?P<clock>{_CLOCK})(?: (?!kernel:)\S{{0,64}}[^\s:])?(?: (?:kernel|klogd|kern\.\w+ kernel)(?:\[\d+\])?:)?(?: |$)",
            r"\[ *(?P<uptime>\d{1,12}\.\d{1,9})\] ?",
            r"\[ *(?P<caller>[TC]\d{1,9})(?:@[TC]\d{1,9})?\] ?",
            r"\[ *\d{1,4}: *[^\]]{1,24}: *\d{1,9}\] ?",
            rf"\[(?P<stamp>{_CLOCK}(?: \d{{4}})?)\] ?",
            r"\[(?:[A-Z][a-z]{2}\d\d \d\d:\d\d| *[<+] *\d+\.\d+>?)\] ?",
            r"(?:\S{1,64} )?kernel: ?",
            r"c\d+ +\d* ?(?=\[)",
        )
    )
    + ")"
)
"""What may stand before the kernel's words; as many of them as there are, in any order."""

LONGEST_MESSAGE = 4096
"""Characters of a line that are looked at; a kernel's message has at most 2,048 (printk's CONSOLE_EXT_LOG_MAX aside)."""

_REAL_US, _UPTIME_US = re.compile(r"[0-9]{7,17}"), re.compile(r"[0-9]{1,18}")
"""Microseconds since 1970 and since boot, in the journal's JSON."""

MOST_PREFIXES = 8
"""Prefixes of a line that are taken off."""


class LogLine(NamedTuple):
    """A line of a kernel log."""

    text: str
    """The kernel's words."""
    uptime_us: int | None
    """Microseconds since boot, as printk counts; None where the line has none."""
    clock: str
    """Time of day as the log writes it; empty where it does not."""
    caller: str
    """Who called printk, as ``T123`` (a task) or ``C1`` (a CPU); empty where the kernel does not say."""


def _microseconds(text: str) -> int:
    """Microseconds of ``seconds.fraction``."""
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 1_000_000 + int((fraction + "000000")[:6])


def log_line(line: str) -> LogLine:
    """The line without its prefixes, and what they say."""
    uptime, clock, caller = None, "", ""
    line, at = line[:LONGEST_MESSAGE], 0
    for _ in range(MOST_PREFIXES):
        found = _PREFIX.match(line, at)
        if found is None or found.end() == at:
            break
        at = found.end()
        named = found.groupdict()
        if named.get("uptime"):
            uptime = _microseconds(named["uptime"])
        if named.get("kmsg"):
            uptime = int(named["kmsg"])
        clock = named.get("clock") or named.get("stamp") or clock
        caller = named.get("caller") or named.get("by") or caller
    return LogLine(line[at:].strip(), uptime, clock, caller)


_MESSAGES = ("MESSAGE", "msg", "message", "log", "textPayload")
"""Keys of a message: of journald, of ``dmesg -J``, of collectors of logs, of container runtimes, of clouds' logs."""

_CLOCKS = ("time", "timestamp", "@timestamp")
"""Keys of an entry's time, where that is a date."""

_IN_JSON = re.compile(rb'"(?:MESSAGE|msg|message|log|textPayload)" ?:')
_ENTRY = re.compile(rb"^(?:\x1e|data: ?)?(?=\{)")
_FIELD = re.compile(
    r'^\s*(?:"(?:MESSAGE|msg|message|log|textPayload)"\s*:\s*(?P<json>"(?:[^"\\]|\\.){0,20000}")\s*,?\s*\}?,?|MESSAGE=(?P<plain>.*))$'
)
"""A message on a line of its own: JSON over several lines, journalctl's ``-o export`` and ``verbose``."""


def journal_entry(line: bytes) -> list[LogLine] | None:
    """The lines of an entry of JSON, as ``journalctl -o json`` and collectors of logs write it; None if the line is none."""
    if (start := _ENTRY.match(line)) is None or _IN_JSON.search(line) is None:
        return None
    try:
        entry = json.loads(line[start.end() :])
    except (ValueError, RecursionError):
        return None
    inner = entry.get("jsonPayload") if isinstance(entry.get("jsonPayload"), dict) else {}
    message = next((text for name in _MESSAGES if (text := _text_of({**entry, **inner}.get(name)))), None)
    if message is None:
        return None
    uptime = str(entry.get("_SOURCE_MONOTONIC_TIMESTAMP", ""))
    real = str(entry.get("__REALTIME_TIMESTAMP", ""))
    stamp = (
        f"{datetime.fromtimestamp(int(real[:-6]), UTC):%Y-%m-%d %H:%M:%S}"
        if _REAL_US.fullmatch(real)
        else next((str(entry[name])[:40] for name in _CLOCKS if name in entry), "")
    )
    since = int(uptime) if _UPTIME_US.fullmatch(uptime) else None
    found = []
    for text in message.rstrip("\n").split("\n"):
        told = log_line(text)
        found.append(
            told._replace(uptime_us=told.uptime_us if since is None else since, clock=told.clock or stamp)
        )
    return found


def _text_of(message: Any) -> str | None:
    """A message as text; the journal gives one that is no UTF-8 as a list of bytes."""
    if isinstance(message, str):
        return message
    if isinstance(message, list) and all(isinstance(one, int) and 0 <= one < 256 for one in message):
        return bytes(message).decode("utf-8", "replace")
    return None


_COLOUR = re.compile(r"(?:\x1b|#033)\[[\d;?]{0,20}[A-Za-z]")
_PRODUCT = re.compile(r"(?<=\d)_(?=\d{1,9}kB)")


def plain(text: str) -> str:
    """A line without colours, with blanks for blanks that do not break, and without the marks that Markdown leaves or takes.

    Markdown takes the stars of ``9120*4kB 4010*8kB`` for emphasis: some pages show ``9120_4kB 4010_8kB``.
    """
    if "\x1b" in text or "#033" in text:
        text = _COLOUR.sub("", text)
    if "\xa0" in text:
        text = text.replace("\xa0", " ")
    if "\\" in text:
        text = re.sub(r"\\([*_\[\]|])", r"\1", text)
    return _PRODUCT.sub("*", text) if "_" in text else text


def messages(line: bytes) -> Iterator[LogLine]:
    """The lines that a line of the file holds: one, or those that rsyslog joined with ``#012``, with the first one's prefix.

    An entry of the journal may have several, too.
    """
    if (entry := journal_entry(line)) is not None:
        yield from entry
        return
    if b"#012" not in line:
        text = plain(line[: 4 * LONGEST_MESSAGE].decode("utf-8", "replace"))
        yield log_line(_own_line(text))
        return
    yield from _joined(plain(line.decode("utf-8", "replace")).split("#012"))


def _own_line(text: str) -> str:
    """The message of a line that names it so (:data:`_FIELD`), else the line."""
    if ('"' not in text and "MESSAGE=" not in text) or (found := _FIELD.match(text)) is None:
        return text
    if found["plain"] is not None:
        return found["plain"]
    try:
        return str(json.loads(found["json"])).rstrip("\n")
    except ValueError:
        return text


def _joined(parts: list[str]) -> Iterator[LogLine]:
    """The lines that rsyslog joined."""
    first: LogLine | None = None
    for part in parts:
        if not part.strip():
            continue
        told = log_line(part)
        if first is None:
            first = told
        elif told.uptime_us is None:
            told = told._replace(
                uptime_us=first.uptime_us, clock=told.clock or first.clock, caller=told.caller or first.caller
            )
        yield told


_QUOTE = r"(?:[>|] ?)*"
_LOG_HEAD = re.compile(
    rf"^(?:{_QUOTE}(?:<\d{{1,3}}>)?\[ *\d{{1,12}}\.\d{{3,9}}\]|{_QUOTE}\[{_CLOCK}\] |"
    rf"{_CLOCK} \S+ [\w./@-]{{1,64}}(?:\[\d+\])?: |\d{{1,3}},\d+,\d+,[-c+][,;]|"
    r'\{[^\n]{0,4000}"MESSAGE" ?:)',
    re.MULTILINE,
)
_REPORT = re.compile(
    r"page[ \xa0]allocation[ \xa0](?:failure|stall)|invoked oom-killer: |^.{0,120}\bMem-Info:|ut of memory: Kill",
    re.MULTILINE,
)
_TRACE = re.compile(r"\bmm_(?:page_(?:alloc|free)|compaction_|vmscan_)\w*: ")
_LOG_SHARE = 0.5
"""Share of the lines that begin like a log's, from which on a text is one."""


def looks_like_log(head: str) -> bool:
    """Whether a text is a kernel's or a system's log: it holds a report, or at least half of its lines begin as logs do.

    One that holds events of the allocator, as a dump of ftrace's buffer does, is a trace.
    """
    if _TRACE.search(head):
        return False
    if _REPORT.search(head):
        return True
    lines = sum(1 for line in head.split("\n") if line.strip())
    return bool(lines) and len(_LOG_HEAD.findall(head)) >= _LOG_SHARE * lines
