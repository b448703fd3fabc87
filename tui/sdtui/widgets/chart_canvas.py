"""Draws a scene into cells: the plot in braille, the axes around it, marks and the cursor.

Pure: cells are code points and the numbers of styles; the widget gives these their colours. Every
sign here is one cell wide in every terminal (none is of ambiguous width but the lines).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdtui.language import N_
from sdtui.live.series import Bands
from sdtui.widgets.braille import ACROSS, DOWN, Cells, Dots, cells_of, scattered, upright
from sdtui.widgets.chart_axes import Tick, column_of
from sdtui.widgets.chart_marks import Mark, MarkKind
from sdtui.widgets.chart_scene import Scene

# A cell's style is the place of its name here.
STYLES = ("blank", "raw", "axis", "label", "cursor", "saved", "gone", "resumed", "nan",
          "series-1", "series-2", "series-3", "series-4", "series-5", "series-6",
          "series-7")  # fmt: skip
_NUMBER = {name: number for number, name in enumerate(STYLES)}
_FIRST_SERIES = _NUMBER["series-1"]
MARKS: dict[MarkKind, str] = {"gone": "▵", "saved": "▴", "resumed": "↻", "nan": "✗"}
MARKS_WORDS: dict[MarkKind, tuple[str, str]] = {  # in few words, and for the help
    "saved": (N_("saved"), N_("a checkpoint that is on the disk")),
    "gone": (N_("removed"), N_("a checkpoint that made room for newer ones")),
    "resumed": (N_("resumed"), N_("here a resumed run went on")),
    "nan": (N_("not finite"), N_("the loss was NaN or infinite")),
}
_OVER: tuple[MarkKind, ...] = (
    "gone",
    "saved",
    "resumed",
)  # of several marks in one cell the last one stays
# Dots on and off along each line, so that lines differ without colour.
DASHES = ((1, 0), (5, 3), (2, 2), (4, 1, 1, 2), (1, 2), (1, 1), (3, 1))
_SAMPLE = 4  # cells of a line in a legend; all dashes differ within them
_AXIS_FROM = 5  # rows; a lower chart has no x axis


@dataclass(frozen=True, slots=True)
class Frame:
    """Where in the cells the plot is.

    Attributes:
        left: Columns before it: the labels and the line of the y axis.
        columns: Its width.
        rows: Its height.
    """

    left: int
    columns: int
    rows: int

    @property
    def axis(self) -> bool:
        """Whether there is an x axis, of two rows."""
        return self.rows >= _AXIS_FROM - 2


def frame(width: int, height: int, labels: int) -> Frame:
    """Return the place of the plot in a field of cells, with labels of that width beside it."""
    left = min(labels + 1, max(0, width - 2))
    rows = height - 2 if height >= _AXIS_FROM else height
    return Frame(left, max(1, width - left), max(1, rows))


@dataclass(slots=True)
class Grid:
    """Cells: code points and styles, both (rows, columns)."""

    chars: Cells
    styles: NDArray[np.uint8]

    @classmethod
    def blank(cls, width: int, height: int) -> "Grid":
        """Return an empty field."""
        return cls(
            np.full((height, width), ord(" "), np.uint32), np.zeros((height, width), np.uint8)
        )

    def write(self, row: int, column: int, words: str, style: str) -> None:
        """Put one-cell signs into a row, cut at its ends."""
        height, width = self.chars.shape
        if not 0 <= row < height:
            return
        for place, sign in enumerate(words, column):
            if 0 <= place < width:
                self.chars[row, place] = ord(sign)
                self.styles[row, place] = _NUMBER[style]


@dataclass(frozen=True, slots=True)
class Axes:
    """What stands beside the plot.

    Attributes:
        x: Ticks of the x axis.
        y: Ticks of the y axis.
        marks: What happened where.
        cursor: Where on the x axis the read-out stands.
    """

    x: Sequence[Tick]
    y: Sequence[Tick]
    marks: Sequence[Mark] = ()
    cursor: float | None = None


def draw(scene: Scene, axes: Axes, place: Frame, size: tuple[int, int]) -> Grid:
    """Return the whole chart as cells.

    Args:
        scene: Worked out for ``place.columns`` times ``braille.ACROSS`` columns.
        axes: Ticks, marks, cursor.
        place: Where the plot is.
        size: Width and height of all of it.
    """
    grid = Grid.blank(*size)
    _y_axis(grid, scene, axes.y, place)
    if axes.cursor is not None:
        _cursor(grid, scene, axes.cursor, place)
    _plot(grid, scene, place)
    if place.axis:
        _x_axis(grid, scene, axes, place)
    return grid


def dash_sample(number: int, cells: int = _SAMPLE) -> str:
    """Return a piece of the line of series ``number``, from 0, for a legend."""
    field = np.zeros((DOWN, cells * ACROSS), dtype=bool)
    field[1] = dashes(number, cells * ACROSS)
    return "".join(chr(code) if code else " " for code in cells_of(field)[0])


def dashes(number: int, columns: int) -> NDArray[np.bool_]:
    """Return in which columns of dots the line of series ``number`` is drawn."""
    pattern = DASHES[number % len(DASHES)]
    one = np.concatenate([np.full(count, place % 2 == 0) for place, count in enumerate(pattern)])
    return np.resize(one, columns)


def _plot(grid: Grid, scene: Scene, place: Frame) -> None:
    """Draw from the back to the front: raw points, lines laid over, the run's own line."""
    area = (slice(0, place.rows), slice(place.left, place.left + place.columns))
    chars, styles = grid.chars[area], grid.styles[area]
    broken = np.repeat(scene.broken.reshape(-1, ACROSS).any(axis=1), ACROSS)
    if scene.raw is not None:
        dots = _scatter(scene, place.rows) & ~broken
        _lay(chars, styles, dots, _NUMBER["raw"])
    for number in range(len(scene.lines) - 1, -1, -1):
        dots = _dots(scene.lines[number], scene, place.rows)
        dots &= dashes(number, dots.shape[1]) if number else ~broken
        _lay(chars, styles, dots, _FIRST_SERIES + number)


def _scatter(scene: Scene, rows: int) -> Dots:
    """Return the raw points: some of all, and the least and the greatest of each column."""
    assert scene.raw is not None
    size = (rows * DOWN, scene.wish.columns)
    every = np.arange(scene.wish.columns)
    columns, heights = scene.points
    places = np.concatenate([columns, every, every])
    values = np.concatenate([heights, scene.raw.low, scene.raw.high])
    return scattered(places, _share(values, scene), size)


def _lay(chars: Cells, styles: NDArray[np.uint8], dots: Dots, style: int) -> None:
    cells = cells_of(dots)
    there = cells > 0
    chars[there] = cells[there]
    styles[there] = style


def _dots(of: Bands, scene: Scene, rows: int) -> Dots:
    return upright(_share(of.low, scene), _share(of.high, scene), rows * DOWN)


def _share(values: NDArray[np.float64], scene: Scene) -> NDArray[np.float64]:
    """Return heights in the plot, 0 at its bottom and 1 at its top."""
    low, high = scene.y
    if scene.wish.log:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(values)  # what is not above 0 becomes NaN or -inf: no dot
        low, high = float(np.log(low)), float(np.log(high))
    return (values - low) / (high - low)


def _y_axis(grid: Grid, scene: Scene, ticks: Sequence[Tick], place: Frame) -> None:
    for row in range(place.rows):
        grid.write(row, place.left - 1, "│", "axis")
    taken = place.rows + 1
    for tick in sorted(ticks):
        share = float(_share(np.array([tick.value]), scene)[0])
        from_bottom = min(int(share * place.rows * DOWN), place.rows * DOWN - 1) // DOWN
        row = place.rows - 1 - from_bottom
        if not 0 <= row < min(place.rows, taken):
            continue
        taken = row
        words = tick.words[: place.left - 1]
        grid.write(row, place.left - 1 - len(words), words, "label")
        grid.write(row, place.left - 1, "┤", "axis")


def _x_axis(grid: Grid, scene: Scene, axes: Axes, place: Frame) -> None:
    row, view = place.rows, scene.wish.view
    grid.write(row, place.left - 1, "└" + "─" * place.columns, "axis")
    free_from = 0
    for tick in axes.x:
        column = column_of(tick.value, view, place.columns)
        if not 0 <= column < place.columns:
            continue
        grid.write(row, place.left + column, "┬", "axis")
        begin = place.left + column - (len(tick.words) - 1) // 2
        begin = max(0, min(begin, place.left + place.columns - len(tick.words)))
        if begin >= free_from:
            grid.write(row + 1, begin, tick.words, "label")
            free_from = begin + len(tick.words) + 2
    for kind in _OVER:
        for mark in axes.marks:
            column = column_of(mark.place, view, place.columns)
            if mark.kind == kind and 0 <= column < place.columns:
                grid.write(row, place.left + column, MARKS[mark.kind], mark.kind)
    for dots in np.flatnonzero(scene.broken):
        grid.write(row, place.left + int(dots) // ACROSS, MARKS["nan"], "nan")


def _cursor(grid: Grid, scene: Scene, at: float, place: Frame) -> None:
    column = column_of(at, scene.wish.view, place.columns)
    if 0 <= column < place.columns:
        for row in range(place.rows):
            grid.write(row, place.left + column, "│", "cursor")
