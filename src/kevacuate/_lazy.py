# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that a package hands on and imports when they are first used, so that a command waits only for what it uses."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any


def handed_on(package: str, homes: Mapping[str, str], name: str) -> Any:
    """The attribute *name* of *package*, from the module that *homes* gives; a package's ``__getattr__`` calls it.

    Raises
    ------
    AttributeError
        The package hands on no such name.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(homes[name]), name)
    setattr(sys.modules[package], name, value)
    return value
