# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel profiles: what differs between kernel versions, gathered in one place (docs/model.md, section Profiles)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kevacuate.errors import KevacuateError


@dataclass(frozen=True)
class Profile:
    """The behaviour of one kernel series, as far as it differs from the newest one modelled."""

    name: str
    """Series, `7.2`."""
    verified: bool
    """Whether recordings of that kernel have been verified against the model."""


NOT_MODELLED = (
    "direct compaction (its list operations are an input of the buddy level; a replay models kcompactd alone)",
    "reclaim (a replay is open loop: recorded frees are replayed as they came), MGLRU",
    "per-CPU deltas of NR_FREE_PAGES, and the NUMA expiry of per-CPU lists",
    "alloc_pages_bulk beyond one page a call, page reporting, memory hotplug, hwpoison",
    "splitting of large folios whose destination cannot be allocated",
)
"""What no profile models, in words."""

PROFILES = {profile.name: profile for profile in (Profile("7.2", verified=True),)}
"""All profiles by name."""


def _series(kernel: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", kernel)
    if match is None:
        raise KevacuateError(
            f"The recorded kernel calls itself {kernel!r}, which is no Linux release: cannot choose a profile."
        )
    return int(match[1]), int(match[2])


def profile_for(kernel: str) -> tuple[Profile, str]:
    """The profile for a kernel release, and how it is to be printed.

    The exact series if there is one, else the newest that is not newer, else the oldest; both are marked "nearest profile".

    Raises
    ------
    KevacuateError
        *kernel* is no release number.
    """
    wanted = _series(kernel)
    known = sorted(PROFILES.values(), key=lambda profile: _series(profile.name))
    older = [profile for profile in known if _series(profile.name) <= wanted]
    chosen = older[-1] if older else known[0]
    remarks = [] if _series(chosen.name) == wanted else ["nearest profile"]
    remarks += [] if chosen.verified else ["unverified profile"]
    return chosen, f"{chosen.name} ({', '.join(remarks)})" if remarks else chosen.name
