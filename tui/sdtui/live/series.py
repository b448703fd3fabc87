"""The arithmetic of a chart over whole columns: smoothing, and a million points in 200 columns.

All of it is pure and vectorised: a redraw must leave the event loop free within milliseconds.
Points that are NaN or infinite are gaps: they neither count nor spoil their neighbours.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
_BLOCK = 64  # values smoothed by one row of a matrix product; the quickest of 16 to 128
_TINY = 1e-12  # weights below it are nothing beside a pixel


class Memory(NamedTuple):
    """What smoothing carries from one piece of a series to the next.

    Attributes:
        total: Weighted sum so far, not corrected for its beginning.
        points: Finite points so far.
    """

    total: float = 0.0
    points: int = 0


START = Memory()


def ema(values: Column, decay: float, memory: Memory = START) -> tuple[Column, Memory]:
    """Smooth by an exponential mean without the pull towards zero at its beginning.

    As Adam corrects its moments (Kingma and Ba 2015, arXiv:1412.6980, section 3), so that the
    first smoothed point is the first point itself.

    Args:
        values: The series; NaN and infinite points come out as NaN and change nothing.
        decay: Weight of the past, in [0, 1).
        memory: Returned for the piece of the series before this one.

    Returns:
        The smoothed series, and the memory for the next piece.
    """
    finite = np.isfinite(values)
    kept = values if finite.all() else values[finite]
    if not len(kept):
        return np.full(len(values), np.nan), memory
    sums = _decaying_sums(kept * (1 - decay), decay)
    sums += memory.total * _powers(decay, len(kept), 1)
    memory_after = Memory(float(sums[-1]), memory.points + len(kept))
    early = _reach(decay) - memory.points  # later on the correction is nothing
    if early > 0:
        sums[:early] /= 1 - decay ** np.arange(
            memory.points + 1, memory.points + 1 + len(sums[:early])
        )
    if len(kept) == len(values):
        return sums, memory_after
    smooth = np.full(len(values), np.nan)
    smooth[finite] = sums
    return smooth, memory_after


def ema_both_ways(values: Column, decay: float, forward: Column, start: int = 0) -> Column:
    """Smooth the smoothed series once more from its end, so that nothing lags behind.

    Args:
        values: The series.
        decay: As of ``forward``.
        forward: ``ema`` of the whole series.
        start: Of the result only the part from here on is wanted.

    Returns:
        The part from ``start`` on. The rest of it, from earlier points, is not changed by new
        ones beyond ``reach_back``.
    """
    piece = np.where(np.isfinite(values[start:]), forward[start:], np.nan)
    backward, _ = ema(piece[::-1], decay)
    return backward[::-1]


def reach_back(decay: float) -> int:
    """Return how many points back a new point still moves ``ema_both_ways``."""
    return _reach(decay)


def _reach(decay: float) -> int:
    return 1 if decay <= 0 else math.ceil(math.log(_TINY) / math.log(decay))


def _powers(decay: float, count: int, first: int) -> Column:
    """Return ``decay`` to the powers ``first``, ``first`` + 1, ...; zero where they are nothing."""
    powers = np.zeros(count)
    reach = min(count, 2 * _reach(decay))
    powers[:reach] = decay ** np.arange(first, first + reach, dtype=np.float64)
    return powers


def _decaying_sums(values: Column, decay: float) -> Column:
    """Return s with s[i] = decay * s[i - 1] + values[i].

    Inside blocks by a matrix product; the blocks' last values are the same sum over again, with
    a higher power of ``decay``.
    """
    count = len(values)
    size = min(_BLOCK, count)
    blocks = np.zeros((-(-count // size), size))
    blocks.reshape(-1)[:count] = values
    powers = decay ** np.arange(size + 1, dtype=np.float64)
    lags = np.subtract.outer(np.arange(size), np.arange(size)).T
    sums = blocks @ np.where(lags >= 0, powers[np.abs(lags)], 0.0)
    if len(blocks) > 1:
        ends = _decaying_sums(sums[:, -1].copy(), float(powers[-1]))
        sums[1:] += ends[:-1, None] * powers[1:]
    result: Column = sums.reshape(-1)[:count]
    return result


class Bands(NamedTuple):
    """What of a series falls into each column; NaN where nothing does.

    Attributes:
        low: The least finite value.
        high: The greatest finite value.
        broken: A point of the column is not finite.
    """

    low: Column
    high: Column
    broken: NDArray[np.bool_]


def bands(x: Column, y: Column, edges: Column) -> Bands:
    """Gather a series into columns and lose no extreme and no gap.

    Args:
        x: Places, never falling.
        y: Values, as many.
        edges: Rising bounds of the columns, one more than there are columns. A point on a bound
            belongs to the column after it; on the last bound, to the last column.

    Returns:
        The bands, one per column.
    """
    cuts = np.searchsorted(x, edges)
    cuts[-1] = np.searchsorted(x, edges[-1], side="right")
    low = np.full(len(edges) - 1, np.nan)
    high, broken = low.copy(), np.zeros(len(low), dtype=bool)
    starts, end = cuts[:-1], cuts[-1]
    some = cuts[1:] > starts
    if some.any():
        first = starts[some][0]
        values, places = y[first:end], starts[some] - first
        bad = ~np.isfinite(values)
        if bad.any():
            broken[some] = np.logical_or.reduceat(bad, places)
            values = np.where(bad, np.nan, values)
        low[some] = np.fmin.reduceat(values, places)
        high[some] = np.fmax.reduceat(values, places)
    return Bands(low, high, broken)


def some_points(x: Column, edges: Column, a_column: int) -> NDArray[np.int64]:
    """Return the rows of points that stand for all: about so many of each column.

    They lie evenly, and which ones they are does not change while a series grows.
    """
    first, last = np.searchsorted(x, edges[0]), np.searchsorted(x, edges[-1], side="right")
    if last - first < 2 or x[last - 1] <= x[first]:
        return np.arange(first, last)
    density = (last - first - 1) / (x[last - 1] - x[first]) * (edges[1] - edges[0])
    power = max(0, math.floor(math.log2(density / a_column) + 1e-3))
    every = 1 << power
    return np.arange(-(-first // every) * every, last, every)


def line(x: Column, y: Column, edges: Column) -> Bands:
    """Gather a line through the points: what it covers of each column, also between points.

    Neighbouring columns share the value on their common bound, so the line has no holes except
    where a point is not finite. Arguments as of ``bands``.
    """
    found = bands(x, y, edges)
    if not len(x):
        return found
    on_edges = _between(x, y, edges)
    low = np.fmin(found.low, np.fmin(on_edges[:-1], on_edges[1:]))
    high = np.fmax(found.high, np.fmax(on_edges[:-1], on_edges[1:]))
    low[found.broken] = high[found.broken] = np.nan
    return Bands(low, high, found.broken)


def _between(x: Column, y: Column, places: Column) -> Column:
    """Return the line's height at ``places``; NaN outside it and beside a gap."""
    after = np.clip(np.searchsorted(x, places), 1, max(1, len(x) - 1))
    if len(x) < 2:
        return np.full(len(places), np.nan)
    x0, x1, y0, y1 = x[after - 1], x[after], y[after - 1], y[after]
    with np.errstate(invalid="ignore", over="ignore"):
        share = (places - x0) / np.where(x1 > x0, x1 - x0, 1.0)
        height = np.clip(y0 + (y1 - y0) * share, np.minimum(y0, y1), np.maximum(y0, y1))
    height[(places < x[0]) | (places > x[-1]) | ~np.isfinite(height)] = np.nan
    return height


def elapsed(at: Column, before: float = 0.0, last: float | None = None) -> Column:
    """Return seconds since the first point; a clock that is set back stands still instead.

    Args:
        at: Seconds since the epoch.
        before: What was returned for the last point of the piece before.
        last: That point's ``at``; None for the first piece.
    """
    if not len(at):
        return at
    spans = np.diff(at, prepend=at[0] if last is None else last)
    result: Column = before + np.cumsum(np.maximum(spans, 0.0))
    return result


def never_falling(values: Column, last: float = 0.0) -> Column:
    """Return a series that holds its highest value so far; what is not finite is passed over."""
    clean = np.where(np.isfinite(values), values, -np.inf)
    result: Column = np.maximum.accumulate(np.maximum(clean, last))
    return result
