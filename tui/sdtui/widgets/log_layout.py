"""Where the rows of a log stand on a screen of a given width: pure arithmetic, no drawing."""

from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

from sdtui.live.log_cells import Ruler
from sdtui.live.logfile import Row


class Place(NamedTuple):
    """A line of the screen: a row, and which of its wrapped parts."""

    row: int
    part: int = 0


class Line(NamedTuple):
    """What one line of the screen shows: cells ``begin`` to ``begin + width`` of a row."""

    row: int
    part: int
    begin: int
    width: int
    wrapped: bool = False


@lru_cache(1024)
def ruler(text: str) -> Ruler:
    """Return the ruler of a settled text."""
    return Ruler(text)


@lru_cache(1024)
def _parts(text: str, width: int) -> tuple[int, ...]:
    return tuple(ruler(text).wrap(width))


class Layout:
    """Some rows, wrapped or not.

    Args:
        rows: By rising address.
        width: Cells for their text, at least 1.
        wrap: Whether a long row takes several lines.
    """

    def __init__(self, rows: tuple[Row, ...], width: int, *, wrap: bool) -> None:
        self.rows, self.width, self.wrap = rows, max(1, width), wrap

    def parts(self, row: int) -> tuple[int, ...]:
        """Return the cells at which the lines of a row begin."""
        return _parts(self.rows[row].text, self.width) if self.wrap else (0,)

    def find(self, at: int) -> int:
        """Return the row at this address, or the next one after it; ``len(rows)`` if none."""
        return bisect_left(self.rows, at, key=lambda row: row.at)

    def move(self, place: Place, lines: int) -> Place:
        """Return the place so many lines further down, or up if negative, within the rows."""
        row, part = place
        if not self.rows:
            return Place(0)
        part += lines
        while part < 0 and row > 0:
            row -= 1
            part += len(self.parts(row))
        while row < len(self.rows) - 1 and part >= (height := len(self.parts(row))):
            part -= height
            row += 1
        return Place(row, max(0, min(part, len(self.parts(row)) - 1)))

    def last_top(self, height: int) -> Place:
        """Return the top line with which the last row stands at the bottom of the screen."""
        if not self.rows:
            return Place(0)
        last = len(self.rows) - 1
        return self.move(Place(last, len(self.parts(last)) - 1), 1 - height)

    def lines(self, top: Place, height: int, left: int = 0) -> list[Line]:
        """Return what the lines of a screen show, at most ``height`` of them.

        Args:
            top: The first one.
            height: Lines of the screen.
            left: Cells to the left that are out of sight, where rows are not wrapped.
        """
        shown: list[Line] = []
        part = top.part
        for row in range(top.row, len(self.rows)):
            starts = self.parts(row)
            ends = (*starts[1:], starts[-1] + self.width)
            for index in range(part, len(starts)):
                if len(shown) == height:
                    return shown
                begin = starts[index] + (0 if self.wrap else left)
                width = self.width if not self.wrap else ends[index] - starts[index]
                shown.append(Line(row, index, begin, width, self.wrap))
            part = 0
        return shown
