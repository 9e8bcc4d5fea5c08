# SPDX-License-Identifier: GPL-2.0-or-later
"""What the OOM killer says beside the zones (mm/oom_kill.c, mm/memcontrol.c, 3.8 to 7.2): constraint, limit, victim.

The victim is named twice until 5.2, first as ``Kill process 7 (sh) score 900 or sacrifice child`` and then, maybe a child of
it, as ``Killed process``; since 5.3 once. ``oom-kill:constraint=`` is there since 5.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_KILLED = re.compile(
    r"\bKilled process (\d{1,9}),? (?:UID:? ?\d+,? )?\((.{1,64}?)\)(?:,? total-vm:(\d{1,15})kB)?(?:,? anon-rss:(\d{1,15})kB)?"
)
_CHOSEN = re.compile(r"\bKill process (\d{1,9}) \((.{1,64}?)\)(?: score (\d{1,6}))?")
_CONSTRAINT = re.compile(r"oom-kill:constraint=CONSTRAINT_(\w{1,20})")
_CONTEXT = re.compile(r"task_memcg=([^,]{1,500})")
_LIMIT_OF = re.compile(r"killed as a result of limit of (\S{1,500})")
_LIMIT = re.compile(r"\bmemory: usage (\d{1,18})kB, limit (\d{1,18})kB")
_MEMCG = re.compile(
    r"[Mm]emory cgroup out of memory|CONSTRAINT_MEMCG|killed as a result of limit of|Memory cgroup stats"
)
_LINE = re.compile(
    r"Kill(?:ed)? process \d|oom-kill:constraint=|memory: usage \d+kB|[Oo]ut of memory|killed as a result of limit|"
    r"Memory cgroup stats"
)


@dataclass(slots=True)
class OomFacts:
    """What the OOM killer said; sizes in KiB, None where not said."""

    memcg: bool = False
    """A memory cgroup's limit was reached: no zone was short."""
    constraint: str = ""
    """``none``, ``cpuset``, ``memory_policy`` or ``memcg``; empty before 5.0."""
    group: str = ""
    """The victim's memory cgroup, or (before 5.0) the one whose limit was reached."""
    usage_kb: int | None = None
    limit_kb: int | None = None
    victim: str = ""
    victim_pid: int | None = None
    victim_anon_kb: int | None = None
    score: int | None = None
    nobody: bool = False
    """No process could be killed, or the kernel was told to panic."""


def is_oom_line(text: str) -> bool:
    """Whether a line is one of those read here."""
    return (
        any(word in text for word in ("emory", "process", "oom-kill", "limit"))
        and _LINE.search(text) is not None
    )


def names_victim(text: str) -> bool:
    """Whether a line names a victim, so that a report is there even where its beginning is missing."""
    return "Killed process" in text or "oom-kill:constraint=" in text


def take(facts: OomFacts, text: str) -> bool:
    """Takes what a line says; True if it is the last one of the report."""
    facts.memcg = facts.memcg or _MEMCG.search(text) is not None
    if found := _CONSTRAINT.search(text):
        facts.constraint = found[1].lower()
        context = _CONTEXT.search(text)
        facts.group = context[1] if context else facts.group
    if found := _LIMIT_OF.search(text):
        facts.group = found[1]
    if found := _LIMIT.search(text):
        facts.usage_kb, facts.limit_kb = int(found[1]), int(found[2])
    if (found := _CHOSEN.search(text)) and not facts.victim:
        facts.victim_pid, facts.victim = int(found[1]), found[2]
        facts.score = int(found[3]) if found[3] else None
    if found := _KILLED.search(text):
        facts.victim_pid, facts.victim = int(found[1]), found[2]
        facts.victim_anon_kb = int(found[4]) if found[4] else None
        return True
    facts.nobody = facts.nobody or "no killable processes" in text or "not syncing" in text
    return facts.nobody
