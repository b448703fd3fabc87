"""What is kept of one device's readings: the last hour in full, the whole run in bins.

Both grow without copying what a screen already holds: a view handed out never changes. Nothing
here reads a file or knows a widget.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# The columns of a row of readings; what was not read is NaN.
TIME, UTIL, MEMORY, POWER, TEMPERATURE, CLOCK, THROTTLE = range(7)
METRICS = (UTIL, MEMORY, POWER, TEMPERATURE, CLOCK)
WINDOWS_S: dict[str, float | None] = {"1m": 60.0, "10m": 600.0, "1h": 3600.0, "run": None}
RECENT = 3_800  # rows: an hour at 1 Hz, and some for a clock that runs fast
_BINS = 1024
_HOLD_S = 2.6  # a reading counts this long where no other came: the supervisor reads at 1 Hz
_GROWTH = 1.2  # of a column of the whole run, each time the run has outgrown the drawing


class Ring:
    """The newest rows by rising time; grows at both ends, forgets the oldest."""

    def __init__(self, columns: int, keep: int = RECENT) -> None:
        self._keep = keep
        self._rows = np.empty((2 * keep, columns))
        self._low = self._high = keep

    def append(self, rows: Values) -> None:
        """Add later rows."""
        rows = rows[-self._keep :]
        if self._high + len(rows) > len(self._rows):
            self._move()
        self._rows[self._high : self._high + len(rows)] = rows
        self._high += len(rows)
        self._low = max(self._low, self._high - self._keep)

    def prepend(self, rows: Values) -> None:
        """Add earlier rows as far as there is room."""
        room = self._keep - (self._high - self._low)
        rows = rows[len(rows) - min(room, len(rows)) :]
        self._rows[self._low - len(rows) : self._low] = rows
        self._low -= len(rows)

    def view(self) -> Values:
        """Return the rows; later growth does not touch them."""
        rows = self._rows[self._low : self._high]
        rows.flags.writeable = False
        return rows

    def _move(self) -> None:
        """Go on in a fresh buffer: the old one belongs to the views."""
        rows, old = self._rows[self._low : self._high], self._rows
        self._rows = np.empty_like(old)
        self._low, self._high = self._keep - len(rows), self._keep
        self._rows[self._low : self._high] = rows


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """The whole run in bins of equal length; bins without a reading have count 0.

    Attributes:
        start: Of the first bin, seconds since the epoch.
        width: Of a bin, in seconds.
        low: Least reading, (bins, metrics); infinite where there is none.
        high: Greatest, likewise.
        total: Their sum.
        count: Their number.
    """

    start: float
    width: float
    low: Values
    high: Values
    total: Values
    count: Values


class Bins:
    """Readings of any order put into bins of time, whose width doubles as the run grows."""

    def __init__(self, start: float) -> None:
        self._start, self._width = start, 1.0
        shape = (_BINS, len(METRICS))
        self._low, self._high = np.full(shape, np.inf), np.full(shape, -np.inf)
        self._total, self._count = np.zeros(shape), np.zeros(shape)

    def add(self, rows: Values) -> None:
        """Take rows in; what is before the start is passed over."""
        rows = rows[rows[:, TIME] >= self._start]
        if not len(rows):
            return
        while rows[:, TIME].max() >= self._start + _BINS * self._width:
            self._halve()
        place = ((rows[:, TIME] - self._start) / self._width).astype(np.intp)
        values = rows[:, METRICS]
        np.fmin.at(self._low, place, values)
        np.fmax.at(self._high, place, values)
        np.add.at(self._total, place, np.nan_to_num(values))
        np.add.at(self._count, place, ~np.isnan(values))

    def _halve(self) -> None:
        """Join neighbours, so that twice the time fits."""
        empty = {"_low": np.inf, "_high": -np.inf, "_total": 0.0, "_count": 0.0}
        joins = {"_low": np.minimum, "_high": np.maximum, "_total": np.add, "_count": np.add}
        for name, join in joins.items():
            old = getattr(self, name)
            new = np.full_like(old, empty[name])
            new[: _BINS // 2] = join(old[::2], old[1::2])
            setattr(self, name, new)
        self._width *= 2

    def view(self) -> Summary:
        """Return the bins up to now."""
        parts = (self._low, self._high, self._total, self._count)
        return Summary(self._start, self._width, *(part.copy() for part in parts))


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One device over time.

    Attributes:
        recent: The last hour, (readings, 7): the columns are ``TIME`` to ``THROTTLE``.
        run: The whole run.
        hold_s: Seconds that a bin's reading counts for where the run was only sampled.
    """

    recent: Values
    run: Summary
    hold_s: float = _HOLD_S


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One metric by columns of a drawing, oldest first; NaN where nothing was read.

    Attributes:
        seconds: Of one column.
    """

    low: Values
    mean: Values
    high: Values
    seconds: float


def columns(history: History, metric: int, window: str, width: int, now: float) -> Columns:
    """Sum one metric up for a drawing.

    The edges of the columns stand still: they move by whole columns as time goes on, so that a
    drawing sent a second later differs in its last column alone.

    Args:
        history: Of the device.
        metric: One of ``METRICS``, or any column of ``history.recent``.
        window: A key of ``WINDOWS_S``.
        width: Columns.
        now: The right end, in the time of the rows.
    """
    span = WINDOWS_S[window]
    if span is not None:
        rows = history.recent
        number = max(1, min(width, int(span)))
        seconds = span / number
        end = np.floor(now / seconds + 1) * seconds
        begin = end - span
        edges = (rows[:, TIME] - begin) / seconds
        values = rows[:, metric]
        found = _sum_up(edges, values, values, values, number)
        held = _hold(found, max(_HOLD_S, seconds), seconds)
        wide = np.arange(width) * number // width  # fewer readings than columns: each is wider
        low, mean, high = (part[wide] for part in held)
        return Columns(low, mean, high, seconds)
    return _whole_run(history, metric, width, now)


def _whole_run(history: History, metric: int, width: int, now: float) -> Columns:
    run, place = history.run, METRICS.index(metric)
    span = max(1.0, now - run.start)
    least = max(1.0, span / max(1, width - 1))
    seconds = float(_GROWTH ** np.ceil(np.log(least) / np.log(_GROWTH)))
    there = run.count[:, place] > 0
    count = run.count[there, place]
    middle = (np.flatnonzero(there).astype(np.float64) + 0.5) * run.width
    found = _sum_up(
        middle / seconds,
        run.low[there, place],
        run.total[there, place] / count,
        run.high[there, place],
        width,
    )
    held = _hold(found, max(history.hold_s, run.width, seconds), seconds)
    for part in held:
        part[int(span // seconds) + 1 :] = np.nan  # not yet
    return Columns(*held, seconds)


def _sum_up(
    edges: Values, low: Values, mean: Values, high: Values, number: int
) -> tuple[Values, Values, Values]:
    """Put values at ``edges`` (in columns) into columns: least, mean and greatest of each."""
    keep = (edges >= 0) & (edges < number) & ~np.isnan(mean)
    place = edges[keep].astype(np.intp)
    lows, highs = np.full(number, np.nan), np.full(number, np.nan)
    np.fmin.at(lows, place, low[keep])
    np.fmax.at(highs, place, high[keep])
    total = np.bincount(place, mean[keep], number)
    count = np.bincount(place, minlength=number).astype(np.float64)
    count[count == 0] = np.nan
    return lows, total / count, highs


def _hold(
    found: tuple[Values, Values, Values], hold_s: float, seconds: float
) -> tuple[Values, Values, Values]:
    """Let a column without a reading show the one before it, for ``hold_s`` at most."""
    number = len(found[1])
    here = np.where(np.isnan(found[1]), -1, np.arange(number))
    last = np.maximum.accumulate(here)
    near = (last >= 0) & ((np.arange(number) - last) * seconds <= hold_s)
    taken = np.where(near, last, 0)
    low, mean, high = (np.where(near, part[taken], np.nan) for part in found)
    return low, mean, high


def shares(rows: Values, words: tuple[str, ...], now: float) -> tuple[tuple[str, float], ...]:
    """Return each reason that held the clock down in the last five minutes, with its share.

    Args:
        rows: The recent rows.
        words: Names of the bits in the column ``THROTTLE``.
        now: The end of the five minutes.
    """
    bits = rows[rows[:, TIME] > now - 300, THROTTLE]
    bits = bits[~np.isnan(bits)].astype(np.int64)
    if not len(bits):
        return ()
    held = ((word, float(np.mean(bits >> place & 1))) for place, word in enumerate(words))
    return tuple(sorted(((w, s) for w, s in held if s > 0), key=lambda each: -each[1]))
