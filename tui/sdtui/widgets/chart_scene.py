"""What a chart shows, worked out for a number of columns; a terminal or a picture draws it.

Pure: the same tracks and the same view give the same scene.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdtui.live.series import Bands, Column, bands, line, some_points
from sdtui.widgets.chart_axes import Range, keep_range, round_end, round_range, round_seconds
from sdtui.widgets.chart_track import Track

_POINTS_A_COLUMN = 4  # of dots, beside the extremes
_OUTLIERS = 0.1  # share of the columns whose highest raw points may lie beyond the upper edge
_FEWEST_STEPS = 50.0  # on the x axis of a run that begins
_STAYS_FROM = 0.8  # an edge that is not much too low stays, so that a live chart stands still
_CUT_FROM = 1.25  # they are cut off only if the range is that much smaller without them


@dataclass(frozen=True, slots=True)
class Wish:
    """How the scene is to be drawn.

    Attributes:
        view: Of the x axis.
        columns: How many columns of dots the plot has.
        rows: Height in cells, for the roundness of the y range.
        log: Logarithmic y.
        fit: ``all`` every raw point, ``most`` all but rare spikes, ``line`` the smoothed lines.
        raw: Draw the raw points.
    """

    view: Range
    columns: int
    rows: int
    log: bool = False
    fit: str = "most"
    raw: bool = True


@dataclass(frozen=True, slots=True)
class Scene:
    """A chart, column by column. Heights are in units of the metric, not of the screen.

    Attributes:
        wish: How it was wished for.
        y: Range of the y axis.
        raw: The extremes of the first track's raw points; None when they are not drawn.
        points: Some of these points, as columns and heights: with the extremes they show all.
        lines: The smoothed lines: the run's own first, then those laid over it.
        broken: Columns with a loss that is not finite.
        cut: Raw points lie beyond the range.
    """

    wish: Wish
    y: Range
    raw: Bands | None
    points: tuple[NDArray[np.int64], Column]
    lines: tuple[Bands, ...]
    broken: NDArray[np.bool_]
    cut: bool = False


def scene(tracks: Sequence[Track], wish: Wish, before: Range | None, gaps: Column) -> Scene:
    """Work out a chart.

    Args:
        tracks: The run's own, then those laid over it.
        wish: How to draw it.
        before: The last y range, which is kept while it fits.
        gaps: Places on the x axis where the loss was not finite, rising.
    """
    edges = np.linspace(wish.view.low, wish.view.high, wish.columns + 1)
    lines = tuple(_inside(line(track.x, track.smooth, edges), wish) for track in tracks)
    raw, points = None, (np.empty(0, dtype=np.int64), np.empty(0))
    if wish.raw and tracks and tracks[0].smooth is not tracks[0].y:
        raw = _inside(bands(tracks[0].x, tracks[0].y, edges), wish)
        points = _points(tracks[0], edges)
    target, cut = _y_range(raw, lines, wish, before)
    broken = np.zeros(wish.columns, dtype=bool)
    if len(gaps):
        broken = bands(gaps, np.full(len(gaps), np.nan), edges).broken
    y = keep_range(before, target, log=wish.log)
    return Scene(wish, y, raw, points, lines, broken, cut)


def _points(track: Track, edges: Column) -> tuple[NDArray[np.int64], Column]:
    rows = some_points(track.x, edges, _POINTS_A_COLUMN)
    columns = np.floor((track.x[rows] - edges[0]) / (edges[-1] - edges[0]) * (len(edges) - 1))
    return columns.astype(np.int64), track.y[rows]


def _inside(found: Bands, wish: Wish) -> Bands:
    """Return what a logarithmic axis can show: all above 0."""
    if not wish.log:
        return found
    positive = found.high > 0
    low = np.where(positive, np.where(found.low > 0, found.low, found.high), np.nan)
    return Bands(low, np.where(positive, found.high, np.nan), found.broken)


def _y_range(
    raw: Bands | None, lines: tuple[Bands, ...], wish: Wish, before: Range | None
) -> tuple[Range, bool]:
    """Return the range that is wished for, and whether raw points lie beyond it."""
    shown = [each for each in lines if np.isfinite(each.high).any()]
    if not shown:
        return (Range(0.1, 1.0) if wish.log else Range(0.0, 1.0)), False
    low = min(float(np.nanmin(each.low)) for each in shown)
    high = max(float(np.nanmax(each.high)) for each in shown)
    if raw is None or not np.isfinite(raw.high).any():  # hidden, or none of them in view
        return round_range(low, high, wish.rows, log=wish.log), False
    raw_low, raw_high = np.fmin.reduce(raw.low), float(np.fmax.reduce(raw.high))
    if wish.fit == "line":
        room = 0.0 if wish.log else (high - low) / 4
        near = Range(max(low - room, min(low, 0.0)), high + room)
        cut = raw_low < near.low or raw_high > near.high
        return round_range(*near, wish.rows, log=wish.log), bool(cut)
    top = max(high, raw_high)
    if wish.fit == "most" and not wish.log:
        usual = max(high, float(np.nanquantile(raw.high, 1 - _OUTLIERS)))
        if before is not None and max(high, _STAYS_FROM * usual) <= before.high < top:
            top = before.high
        elif top > usual * _CUT_FROM:
            top = usual
    lowest = min(low, float(raw_low))
    found = round_range(lowest, top, wish.rows, log=wish.log)
    return found, raw_high > found.high


def full_view(x: str, last: float, total: float | None, *, over: bool) -> Range:
    """Return the whole x axis: it ends on a round number that changes rarely while a run grows.

    Early in a run it does not reach to the planned end, else there would be nothing to see.

    Args:
        x: ``step``, ``time`` or ``epoch``.
        last: The furthest place there is.
        total: Steps that are planned, if that is known.
        over: Nothing will be added.
    """
    if over and last > 0:
        return Range(0.0, last)
    if x == "time":
        return Range(0.0, round_seconds(last))
    if x == "epoch":
        return Range(0.0, round_end(last))
    end = max(_FEWEST_STEPS, round_end(last))
    if total is not None and last <= total < 1.3 * end:
        end = total
    return Range(0.0, end)
