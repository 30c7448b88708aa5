"""From masks to COCO's two forms of them: polygons and run lengths, both exact."""

from __future__ import annotations

import numpy as np

from bench.synth.integer import BoolArray


def run_lengths(mask: BoolArray) -> list[int]:
    """COCO's uncompressed run lengths: column by column, the first run is of pixels outside (may be 0)."""
    flat = np.concatenate(([False], mask.ravel(order="F"), [False]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate(([0], edges, [mask.size]))).tolist()
    # A mask that ends inside gives a last run of no pixels, which COCO does not write.
    return [int(run) for run in (runs[:-1] if runs[-1] == 0 else runs)]


def polygons(mask: BoolArray) -> list[list[int]]:
    """Polygons along the edges of pixels, whose union is the mask, each [x0, y0, x1, y1, ...] in pixels.

    COCO's polygons have no holes: a mask with a hole is cut through the middle of it, down its column.
    """
    # Work on the part that holds something: masks are small in their images.
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return []
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    loops = _loops(part)
    holes = [loop for loop in loops if not _is_outer(part, loop)]
    if not holes:
        return [[value for x, y in loop for value in (x + left, y + top)] for loop in loops]
    across = [x for x, _ in holes[0]]
    cut = left + (min(across) + max(across)) // 2
    first, second = mask.copy(), mask.copy()
    first[:, cut:] = False
    second[:, :cut] = False
    return polygons(first) + polygons(second)


def _is_outer(part: BoolArray, loop: list[tuple[int, int]]) -> bool:
    # Right below the first corner in reading order lies the mask, or a hole of it.
    y, x = min((y, x) for x, y in loop)
    return bool(part[y, x])


def _loops(part: BoolArray) -> list[list[tuple[int, int]]]:
    """Closed chains of corners (x, y), one for each border of the mask, outer ones and holes.

    Pixels that touch only at a corner are not connected. In each row of the lattice of pixel corners, and
    in each column, the corners of all borders pair up in order: the 1st with the 2nd, the 3rd with the 4th.
    So each corner has one partner in its row and one in its column, and a loop alternates between them.
    """
    padded = np.pad(part, 1).astype(np.int8)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    once = (upper_left + upper_right + lower_left + lower_right) % 2 == 1
    diagonal = (upper_left == lower_right) & (upper_right == lower_left) & (upper_left != upper_right)
    y, x = np.nonzero(once | diagonal)
    is_twice = diagonal[y, x]
    # Two corners meet where pixels touch diagonally. Of the two, `side` 0 ends the row's run to its left.
    order = np.repeat(np.arange(y.size), np.where(is_twice, 2, 1))
    y, x, is_twice = y[order], x[order], is_twice[order]
    side = np.zeros(y.size, dtype=np.int64)
    side[1:] = (order[1:] == order[:-1]).astype(np.int64)
    # The upper left pixel joins the left run with the run above it; the upper right one the right run.
    above_first = np.where(is_twice & (upper_left[y, x] == 0), 1 - side, side)
    in_rows = np.lexsort((side, x, y))
    in_columns = np.lexsort((above_first, y, x))
    row_partner, column_partner = np.empty_like(in_rows), np.empty_like(in_rows)
    for order, partner in ((in_rows, row_partner), (in_columns, column_partner)):
        partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return _chain(x.tolist(), y.tolist(), row_partner.tolist(), column_partner.tolist())


def _chain(
    x: list[int], y: list[int], row_partner: list[int], column_partner: list[int]
) -> list[list[tuple[int, int]]]:
    loops, seen = [], [False] * len(x)
    for start in range(len(x)):
        if seen[start]:
            continue
        loop, corner = [], start
        while not seen[corner]:
            other = row_partner[corner]
            seen[corner] = seen[other] = True
            loop += [(x[corner], y[corner]), (x[other], y[other])]
            corner = column_partner[other]
        loops.append(loop)
    return loops
