# SPDX-License-Identifier: GPL-2.0-or-later
"""Speed of the model against a C twin on the same arrays: ``python -m benchmarks.run --help``."""
