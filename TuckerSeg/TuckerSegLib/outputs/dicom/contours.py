"""Outlines of a mask as closed polygons along the edges of its pixels; a hole is cut out by a way of no width.

A polygon's corners lie between pixels, so no center of a pixel is on it, and holes are gone around the other way than
what is around them: whatever rule a reader fills it by gives the same pixels. DICOM (PS3.3, C.8.8.6) has holes in a
closed planar contour by the "keyhole" technique: one polygon goes in to the hole and back.
"""

from __future__ import annotations

import numpy as np

Polygon = list[tuple[int, int]]  # corners (x, y): that at (x, y) is the upper left one of the pixel in column x, row y


def outlines(mask: np.ndarray) -> list[Polygon]:
    """Closed polygons whose inside is the mask; the last corner is joined to the first.

    Pixels that touch at a corner alone are apart.

    Args:
        mask: (rows, columns) of bool.
    """
    outer: list[Polygon] = []
    holes: list[Polygon] = []
    for cycle in _cycles(np.pad(np.asarray(mask, dtype=bool), 1)):
        x, y = min(cycle)
        if mask[y, x]:
            outer.append(cycle)
        else:
            holes.append(cycle[::-1])
    for hole in sorted(holes, key=min):  # a hole's way leads to the left, to what is cut out before it
        _join(outer, hole)
    return [_without_repeats(polygon) for polygon in outer]


def _cycles(padded: np.ndarray) -> list[Polygon]:
    """The borders between mask and background, as corners in order; ``padded`` has a border of background."""
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    count = upper_left.astype(np.int8) + upper_right + lower_left + lower_right
    turns = count % 2 == 1
    touches = (count == 2) & (upper_left == lower_right)  # two pixels that touch at this corner: it is two corners
    ys, xs = np.nonzero(turns | touches)
    repeats = np.where(touches[ys, xs], 2, 1)
    ys, xs = np.repeat(ys, repeats), np.repeat(xs, repeats)
    second = np.zeros(len(xs), dtype=np.int8)
    second[1:] = (xs[1:] == xs[:-1]) & (ys[1:] == ys[:-1])
    # Along a row, the first of the two ends the edge from the left; along a column, the one that goes with it is up
    # where the pixel between left and up is in the mask
    leans = touches[ys, xs] & upper_right[ys, xs]
    in_row = np.lexsort((second, xs, ys))
    in_column = np.lexsort((np.where(leans, 1 - second, second), ys, xs))
    beside, above = np.empty(len(xs), dtype=np.int64), np.empty(len(xs), dtype=np.int64)
    for partner, order in ((beside, in_row), (above, in_column)):
        partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return _walked(xs.tolist(), ys.tolist(), beside.tolist(), above.tolist())


def _walked(xs: list[int], ys: list[int], beside: list[int], above: list[int]) -> list[Polygon]:
    """Cycles of corners, along rows and columns by turns."""
    seen = [False] * len(xs)
    cycles = []
    for start in range(len(xs)):
        if seen[start]:
            continue
        cycle, at = [], start
        while not seen[at]:
            other = beside[at]
            seen[at] = seen[other] = True
            cycle += [(xs[at], ys[at]), (xs[other], ys[other])]
            at = above[other]
        cycles.append(cycle)
    return cycles


def _join(polygons: list[Polygon], hole: Polygon) -> None:
    """Cut a hole out of the polygon around it, by a way from its leftmost corner to the nearest edge at the left."""
    start = hole.index(min(hole))
    x, y = hole[start]
    nearest, place = -1, None
    for polygon in polygons:
        for index, ((x0, y0), (x1, y1)) in enumerate(zip(polygon, polygon[1:] + polygon[:1])):
            # The pixel left of the hole's corner is in row y: so is that right of the edge
            if x0 == x1 and nearest < x0 <= x and min(y0, y1) <= y < max(y0, y1):
                nearest, place = x0, (polygon, index)
    polygon, index = place
    way = [(nearest, y)]
    polygon[index + 1 : index + 1] = [*way, *hole[start:], *hole[:start], hole[start], *way]


def _without_repeats(polygon: Polygon) -> Polygon:
    """Corners of which no two that follow each other are the same."""
    return [corner for corner, before in zip(polygon, polygon[-1:] + polygon[:-1]) if corner != before]
