"""Dots in braille cells: 2 columns and 4 rows of them in each cell. Pure functions."""

import numpy as np
from numpy.typing import NDArray

Dots = NDArray[np.bool_]  # (4 * rows, 2 * columns), from the top
Cells = NDArray[np.uint32]  # (rows, columns), the code points

ACROSS, DOWN = 2, 4  # dots of a cell
_EMPTY = 0x2800
# Unicode 15, "Braille Patterns": dots 1 2 3 7 go down on the left, 4 5 6 8 on the right.
_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint32)


def cells_of(dots: Dots) -> Cells:
    """Return the code points of a field of dots; a cell without dots is 0."""
    rows, columns = dots.shape[0] // DOWN, dots.shape[1] // ACROSS
    parts = dots.reshape(rows, DOWN, columns, ACROSS)
    bits = np.einsum("rdca,da->rc", parts.astype(np.uint32), _BITS)
    result: Cells = np.where(bits > 0, bits + _EMPTY, 0).astype(np.uint32)
    return result


def upright(low: NDArray[np.float64], high: NDArray[np.float64], height: int) -> Dots:
    """Return one upright stroke a column.

    Args:
        low: Lower ends, 0 at the bottom and 1 at the top of the field; NaN for no stroke. What is
            beyond the field is drawn at its edge, so that nothing disappears.
        high: Upper ends, as many.
        height: Rows of dots.
    """
    there = np.isfinite(low) & np.isfinite(high)
    bottom = _row(np.where(there, low, 0.0), height)
    top = _row(np.where(there, high, 0.0), height)
    rows = np.arange(height)[:, None]
    result: Dots = (rows <= bottom) & (rows >= top) & there
    return result


def _row(share: NDArray[np.float64], height: int) -> NDArray[np.int64]:
    """Return the row, from the top, in which a height of 0 to 1 lies."""
    # The last digits of a smoothed constant must not draw it in two rows.
    from_bottom = np.floor(np.clip(share, 0.0, 1.0) * height + 1e-6)
    return height - 1 - np.clip(from_bottom, 0, height - 1).astype(np.int64)


def scattered(
    columns: NDArray[np.int64], heights: NDArray[np.float64], size: tuple[int, int]
) -> Dots:
    """Return single points.

    Args:
        columns: Of dots; those outside the field are left out.
        heights: As in ``upright``.
        size: Rows and columns of dots.
    """
    field = np.zeros(size, dtype=bool)
    there = np.isfinite(heights) & (columns >= 0) & (columns < size[1])
    field[_row(heights[there], size[0]), columns[there]] = True
    return field
