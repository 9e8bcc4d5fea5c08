# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: one file per command, thin."""

from kevacuate.cli.main import main

__all__ = ["main"]
