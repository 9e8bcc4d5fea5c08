# SPDX-License-Identifier: GPL-2.0-or-later
"""A second, slow, obvious implementation of the allocator and of the evacuation, in plain Python objects.

Written from docs/model.md and the kernel's source alone; shares no code with `kevacuate`, whose arrays it
is held against operation by operation. Only the standard library is used.
"""

from .config import Config, ZoneConfig
from .oracle import Oracle

__all__ = ["Config", "Oracle", "ZoneConfig"]
