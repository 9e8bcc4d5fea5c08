# SPDX-License-Identifier: GPL-2.0-or-later
"""Importers of foreign files, one module per format, each recognised by content."""

from kevacuate.recording.importers.registry import import_recording, open_source
from kevacuate.recording.importers.source import ImportOptions, Source

__all__ = ["ImportOptions", "Source", "import_recording", "open_source"]
