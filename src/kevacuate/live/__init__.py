# SPDX-License-Identifier: GPL-2.0-or-later
"""The terminal view of a running machine, or of a recording played back."""
