# SPDX-License-Identifier: GPL-2.0-or-later
"""A verification as a table, and as docs/fidelity.md."""
