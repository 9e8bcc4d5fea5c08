# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m kevacuate``: the command line."""

from kevacuate.cli import main

if __name__ == "__main__":
    main()
