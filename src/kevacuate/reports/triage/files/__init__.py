# SPDX-License-Identifier: GPL-2.0-or-later
"""Words and tables of what files say that are no recordings: a module a kind, named as in :mod:`kevacuate.observe.files`."""
