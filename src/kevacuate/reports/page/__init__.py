# SPDX-License-Identifier: GPL-2.0-or-later
"""The HTML page: Python that fills it, beside the scripts that draw it."""
