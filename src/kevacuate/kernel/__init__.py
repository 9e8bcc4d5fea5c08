# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's own numbers, each once, with the versions they hold for; nothing here imports another room."""
