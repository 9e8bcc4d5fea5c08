# SPDX-License-Identifier: GPL-2.0-or-later
"""The one exception the package raises for bad input or a machine that cannot do what was asked."""


class KevacuateError(Exception):
    """What is wrong, where, and what to do, in one sentence; the command line prints it and exits 2."""
