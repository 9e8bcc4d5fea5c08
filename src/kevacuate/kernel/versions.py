# SPDX-License-Identifier: GPL-2.0-or-later
"""Versions of the kernel: a release string as a number that can be compared, and ranges of them.

A version is ``(major, minor)``; of 2.6 kernels, whose third number was what the second is today, it is ``(2, 6,
third)``. What a distribution ported back into its kernel is not known here: a release of Red Hat's 3.10.0 counts as
3.10. The tables of this room hold from 2.6.33 (the first with all events of the kmem system that are read) to 7.2.
Each was compared with the kernel's own headers by ``tests/kernel/check_versions.py``; where no header of a version
was at hand, the tables say None.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeVar

Version = tuple[int, ...]
"""``(6, 12)``, or ``(2, 6, 39)``: versions compare as tuples."""

OLDEST: Version = (2, 6, 33)
"""The first version whose events are known."""

NEWEST: Version = (7, 2)
"""The newest version that the tables were compared with; later ones are taken to be like it."""

_RELEASE = re.compile(r"\s*(?:Linux\s+)?v?(\d{1,2})\.(\d{1,3})(?:\.(\d{1,4}))?")
_Value = TypeVar("_Value")


def parse_version(release: str) -> Version | None:
    """The version that a release names, as ``3.10.0-693.el7.x86_64``; None if it names none.

    Parameters
    ----------
    release : str
        What ``uname -r`` prints, ``6.12``, ``v6.9-rc7`` or ``Linux 5.4.0``.
    """
    found = _RELEASE.match(release)
    if found is None:
        return None
    major, minor = int(found[1]), int(found[2])
    if major < 2 or (major == 2 and (minor != 6 or not found[3])):
        return None
    return (major, minor, int(found[3])) if major == 2 else (major, minor)


def version_text(version: Version) -> str:
    """``6.12`` of ``(6, 12)``."""
    return ".".join(str(number) for number in version)


def within(version: Version, first: Version, last: Version | None = None) -> bool:
    """Whether *version* is *first* or later and, if *last* is given, *last* or earlier."""
    return first <= version and (last is None or version <= last)


SYSCTL_SINCE: dict[str, Version] = {
    "watermark_scale_factor": (4, 6),
    "watermark_boost_factor": (5, 0),
    "compaction_proactiveness": (5, 9),
    "defrag_mode": (6, 15),
}
"""Settings under /proc/sys/vm to the first version that has them: 795ae7a0de6b, 1c30844d2dfe, facdaa917c4d, e3aa7df331bc."""


class KernelRange(NamedTuple):
    """What is known of a kernel's version: the first and the last that it can be, None where nothing is known.

    Names and migratetypes are read as those of ``last``; without one, as those of the newest.
    """

    first: Version | None = None
    last: Version | None = None

    @property
    def exact(self) -> Version | None:
        """The version, if only one is possible."""
        return self.first if self.first is not None and self.first == self.last else None


ANY_KERNEL = KernelRange()
"""Nothing is known of the version."""


def at(table: tuple[tuple[Version, _Value], ...], version: Version | None) -> _Value | None:
    """What holds at *version* by a table of ``(first version, value)`` in ascending order; None before its first and for None."""
    found = None
    if version is not None:
        for first, value in table:
            if version >= first:
                found = value
    return found
