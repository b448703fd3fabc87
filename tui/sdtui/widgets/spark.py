"""Small drawings in text: a bar, a line of blocks, a band of braille dots. Pure functions."""

from collections.abc import Sequence

import numpy as np

from sdtui.live.gpu_track import Columns, Values

_BLOCKS = "▁▂▃▄▅▆▇█"
# Bits of a braille cell, from the lowest of its four dots up: left column, right column.
_DOTS = ((0x40, 0x80), (0x04, 0x20), (0x02, 0x10), (0x01, 0x08))


def spark(values: Values | Sequence[float], low: float, high: float) -> str:
    """Return one block per value between ``low`` and ``high``; a blank where it is NaN."""
    span = (high - low) or 1.0
    marks = []
    for value in values:
        if value != value:  # noqa: PLR0124  # NaN alone differs from itself
            marks.append(" ")
        else:
            place = int((value - low) / span * len(_BLOCKS))
            marks.append(_BLOCKS[min(len(_BLOCKS) - 1, max(0, place))])
    return "".join(marks)


def band(columns: Columns, width: int, height: int, low: float, high: float) -> list[str]:
    """Draw from least to greatest reading of each column in braille dots.

    Args:
        columns: Twice as many as ``width``: a cell is two dots wide.
        width: Cells.
        height: Cells, four dots each.
        low: The value of the lowest dot.
        high: Of the highest.

    Returns:
        ``height`` texts of ``width`` cells, the upper one first.
    """
    top = 4 * height - 1
    scale = top / ((high - low) or 1.0)
    cells = np.zeros((height, width), dtype=np.int32)
    for place in np.flatnonzero(~np.isnan(columns.mean[: 2 * width])):
        first = _dot((columns.low[place] - low) * scale, top)
        last = _dot((columns.high[place] - low) * scale, top)
        column, side = divmod(int(place), 2)
        for dot in range(first, last + 1):
            row, level = divmod(dot, 4)
            cells[height - 1 - row, column] |= _DOTS[level][side]
    return ["".join(chr(0x2800 + bits) if bits else " " for bits in row) for row in cells.tolist()]


def _dot(height: float, top: int) -> int:
    return min(top, max(0, round(height)))


def nice_top(value: float) -> float:
    """Return the next round number at or above ``value``: an axis then seldom changes."""
    if not 0 < value < 1e12:
        return 1.0
    unit = 10.0 ** np.floor(np.log10(value))
    return float(
        next(step * unit for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * unit >= value)
    )
