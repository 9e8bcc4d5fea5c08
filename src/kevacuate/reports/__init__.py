# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables, words, pages, figures and traces for people."""
