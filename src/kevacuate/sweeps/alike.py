# SPDX-License-Identifier: GPL-2.0-or-later
"""Groups of alike points, each with its most typical one: the same whatever the order of the points, but for equal ones.

The first centre is the point nearest to the middle; then, again and again, the point farthest from all centres becomes one, until
every point lies within a radius of a centre or there are as many as wanted (Gonzalez 1985). A few rounds then put each centre at
the member that lies nearest to its group's middle, and each point to its nearest centre.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RADIUS = 0.75
"""Points that lie this near to a centre are alike."""

MOST_GROUPS = 12
ROUNDS = 10

Points = npt.NDArray[np.float64]


def _distances(points: Points, centre: Points) -> Points:
    """Of every point to a centre."""
    return np.asarray(np.sqrt(((points - centre) ** 2).sum(axis=1)))


def _centres(points: Points, radius: float, most: int) -> list[int]:
    """The points that centres begin at."""
    found = [int(_distances(points, np.median(points, axis=0)).argmin())]
    nearest = _distances(points, points[found[0]])
    while len(found) < most and nearest.max() > radius:
        found.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distances(points, points[found[-1]]))
    return found


def alike(points: Points, radius: float = RADIUS, most: int = MOST_GROUPS) -> list[tuple[int, list[int]]]:
    """The groups, the largest first: (number of the most typical point, numbers of all members, the nearest first).

    Parameters
    ----------
    points : float64[points, figures]
        In whatever unit, the same for all figures.
    radius : float
        As :data:`RADIUS`.
    most : int
        Groups at most.
    """
    if not len(points):
        return []
    centres = _centres(points, radius, most)
    owner = np.zeros(len(points), np.int64)
    for _ in range(ROUNDS):
        apart = np.stack([_distances(points, points[centre]) for centre in centres])
        owner = apart.argmin(axis=0)
        moved = []
        for group in range(len(centres)):
            members = np.flatnonzero(owner == group)
            if members.size:
                own = points[members]
                moved.append(int(members[_distances(own, own.mean(axis=0)).argmin()]))
        if moved == centres:
            break
        centres = moved
    groups = []
    for group, centre in enumerate(centres):
        members = np.flatnonzero(owner == group)
        order = np.argsort(_distances(points[members], points[centre]), kind="stable")
        if members.size:
            groups.append((centre, members[order].tolist()))
    return sorted(groups, key=lambda one: (-len(one[1]), one[0]))
