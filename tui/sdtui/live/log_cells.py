"""Text whose width in cells no terminal disputes, and where to cut it.

What joins or restyles its neighbours (zero-width joiners, variation selectors) is left out: how
wide the result is differs from terminal to terminal, and one such line would shift a whole screen.
After ``settle`` the width of a text is the sum of its characters', wherever it is cut.
"""

from bisect import bisect_left, bisect_right
from itertools import accumulate

from rich.cells import get_character_cell_size

MOST_MARKS = 3  # combining characters on one base; more would grow over the lines around it
TAB = 8  # cells
LONGEST = 16_384  # characters of a line; what is longer ends in an ellipsis
# Zero-width joiner and variation selectors, on which the width of the character before depends;
# the soft hyphen, which some terminals draw; and two line ends that are none in a log.
_JOINERS: dict[int, str | None] = dict.fromkeys(
    [0x00AD, 0x200D, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
)
_JOINERS.update({0x2028: " ", 0x2029: " "})


def settle(text: str) -> str:
    """Return clean text as it is drawn: tabs as blanks, nothing of a disputed width, not endless.

    Args:
        text: One line that ``sdcore.text.clean`` has passed.
    """
    text = text.replace("\n", " ")
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    if text.isascii():
        return text.expandtabs(TAB) if "\t" in text else text
    return _settled(text.translate(_JOINERS))


def _settled(text: str) -> str:
    kept: list[str] = []
    cells = marks = 0
    for sign in text:
        if sign == "\t":
            blanks = TAB - cells % TAB
            kept.append(" " * blanks)
            cells, marks = cells + blanks, 0
            continue
        width = get_character_cell_size(sign)
        if width == 0:
            marks += 1
            if marks > MOST_MARKS or not kept:
                continue
        else:
            cells, marks = cells + width, 0
        kept.append(sign)
    return "".join(kept)


class Ruler:
    """Where each cell of one settled text stands in it."""

    __slots__ = ("_ends", "cells", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        # None: one cell per character, as nearly always.
        self._ends: list[int] | None = None
        if not text.isascii():
            self._ends = list(accumulate(map(get_character_cell_size, text)))
        self.cells = (self._ends[-1] if self._ends else 0) if self._ends is not None else len(text)

    def cut(self, begin: int, width: int) -> tuple[int, int, int, int]:
        """Return what of the text lies whole in ``width`` cells from cell ``begin`` on.

        Returns:
            First and last + 1 character, blank cells before them where a wide character is cut in
            two, and the cells they take.
        """
        ends = self._ends
        if ends is None:
            first, last = min(begin, len(self.text)), min(begin + width, len(self.text))
            return first, last, 0, last - first
        # The first character that begins at or after ``begin``: the one before it ends there.
        first = 0 if begin == 0 else bisect_left(ends, begin) + 1
        first = min(first, len(ends))
        while first < len(ends) and begin and ends[first] == ends[first - 1]:
            first += 1  # marks of a character that is cut away
        start = ends[first - 1] if first else 0
        last = max(first, bisect_right(ends, begin + width))
        taken = (ends[last - 1] if last else 0) - start if last > first else 0
        return first, last, min(width, start - begin) if last > first else 0, taken

    def wrap(self, width: int) -> list[int]:
        """Return the cells at which the rows begin when the text is wrapped at ``width`` cells."""
        if self._ends is None:
            return list(range(0, max(1, len(self.text)), width))
        starts, ends = [0], self._ends
        while starts[-1] + width < self.cells:
            last = bisect_right(ends, starts[-1] + width)
            cell = ends[last - 1] if last else 0
            # A place narrower than one wide character shows none of it, but gets past it.
            starts.append(cell if cell > starts[-1] else starts[-1] + width)
        return starts
