# SPDX-License-Identifier: GPL-2.0-or-later
"""From events to objects: the demand of a recording, whatever pfns its objects had."""
