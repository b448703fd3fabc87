"""Draws one line of a log as a strip of an exact width."""

from dataclasses import dataclass

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from sdtui.live.log_levels import LETTERS, Level
from sdtui.live.log_query import Query
from sdtui.live.logfile import Row
from sdtui.widgets.log_layout import Line, ruler

GUTTER = 2  # cells at the left: the letter of the level, and a sign for what is chosen
EDGE = 1  # cell at the right: where in the log we are
_MARKED, _HIT, _CUT = "▌", "›", "…"


@dataclass(frozen=True, slots=True)
class Pens:
    """The styles of a log view, each complete with its background."""

    plain: Style
    levels: dict[Level, Style]
    faint: Style
    match: Style
    hit: Style
    marked: Style
    edge: Style


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is set apart: addresses of the marked rows, first and last, and of the current hit."""

    marks: tuple[int, int] | None = None
    hit: int | None = None

    def marked(self, row: Row) -> bool:
        """Say whether a row is marked."""
        return self.marks is not None and self.marks[0] <= row.at <= self.marks[1]


def paint(
    row: Row, line: Line, width: int, pens: Pens, query: Query | None, chosen: Chosen, edge: str
) -> Strip:
    """Return a line of the screen, ``width`` cells wide.

    Args:
        row: What it shows.
        line: Which part of it.
        width: Cells, with gutter and edge.
        pens: Styles.
        query: Whose matches are set apart.
        chosen: Which rows are.
        edge: The sign in the last cell.
    """
    ground = pens.marked if chosen.marked(row) else pens.plain
    ink = pens.levels.get(row.level)
    style = ground if ink is None else ground + ink
    segments = [*_gutter(row, line, pens, style, chosen)]
    room = width - GUTTER - EDGE
    rule = ruler(row.text)
    first, last, blank, taken = rule.cut(line.begin, min(line.width, room))
    if blank:
        segments.append(Segment(" " * blank, style))
    match = pens.hit if row.at == chosen.hit else pens.match
    segments += _inked(row, first, last, style, query, match)
    if room > blank + taken:
        segments.append(Segment(" " * (room - blank - taken), ground))
    more = edge == " " and rule.cells > line.begin + room
    segments.append(Segment(_CUT if more and not line.wrapped else edge, pens.edge))
    return Strip(segments, width).crop(0, width)


def _gutter(row: Row, line: Line, pens: Pens, style: Style, chosen: Chosen) -> list[Segment]:
    letter = LETTERS[row.level] if line.part == 0 else " "
    if chosen.marked(row):
        return [Segment(letter, style), Segment(_MARKED, style)]
    if row.at == chosen.hit and line.part == 0:
        return [Segment(letter, style), Segment(_HIT, pens.plain + pens.faint)]
    return [Segment(letter, style), Segment(" ", pens.plain)]


def _inked(
    row: Row, first: int, last: int, style: Style, query: Query | None, match: Style
) -> list[Segment]:
    """Return characters ``first`` to ``last`` of a row, with its matches set apart."""
    segments: list[Segment] = []
    at = first
    for span in query.spans(row.text) if query is not None else ():
        begin, end = max(span[0], at), min(span[1], last)
        if begin >= end:
            continue
        if begin > at:
            segments.append(Segment(row.text[at:begin], style))
        segments.append(Segment(row.text[begin:end], style + match))
        at = end
    if at < last:
        segments.append(Segment(row.text[at:last], style))
    return segments


def blank(words: str, width: int, pens: Pens, edge: str) -> Strip:
    """Return a line without a row: nothing, or words about there being none."""
    room = width - GUTTER - EDGE
    first, last, _blank, taken = ruler(words).cut(0, room)
    segments = [
        Segment(" " * GUTTER, pens.plain),
        Segment(words[first:last], pens.plain + pens.faint),
        Segment(" " * (room - taken), pens.plain),
        Segment(edge, pens.edge),
    ]
    return Strip(segments, width).crop(0, width)
