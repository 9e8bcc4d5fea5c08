# SPDX-License-Identifier: GPL-2.0-or-later
"""``mainline``: Linux 7.2 as it is. All that others add is measured against it."""

from __future__ import annotations

from kevacuate.policy.kind import PolicyKind
from kevacuate.policy.knobs import COMMON
from kevacuate.policy.settings import SETTINGS

MAINLINE = PolicyKind("mainline", "Linux 7.2 as it is", {**COMMON, **SETTINGS})
