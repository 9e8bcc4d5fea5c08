# SPDX-License-Identifier: GPL-2.0-or-later
"""Parsers of what kernels and tools print: logs, files of /proc and debugfs, texts of tracers; no analysis."""
