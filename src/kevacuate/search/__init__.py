# SPDX-License-Identifier: GPL-2.0-or-later
"""What a search of free lists by region costs: three structures that choose the same page, and what each is worth."""
