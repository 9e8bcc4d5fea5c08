# SPDX-License-Identifier: GPL-2.0-or-later
"""Sweeps: grids of replays whose results are kept in a store, whoever makes them.

The store is the truth (:mod:`.store`). A cell is one replay (:mod:`.cells`); :mod:`.experiment` reads the grid. Who replays the
cells are only hands: processes of this machine (:mod:`.local`), shards (:mod:`.shards`) or Dask (:mod:`.daskhands`).
"""
