"""One metric of one curve, ready to be drawn: its places, its values, its smoothed line.

Kept up to date piece by piece as the curve grows, so that a tick of a run of a million steps costs
what is new and not what is there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdtui.live import series
from sdtui.live.curve import Curve
from sdtui.live.series import START, Column


@dataclass(frozen=True, slots=True)
class Look:
    """What of a curve is wanted.

    Attributes:
        metric: Name of a column.
        x: ``step``, ``time`` or ``epoch``.
        decay: Of the smoothing; 0 for none.
        both: Smooth in both directions.
    """

    metric: str = "loss"
    x: str = "step"
    decay: float = 0.98
    both: bool = False


class Grown:
    """A column that grows at its end, in place."""

    def __init__(self) -> None:
        self._room, self.count = np.empty(1 << 10), 0

    @property
    def values(self) -> Column:
        """What is there."""
        return self._room[: self.count]

    def put(self, start: int, new: Column) -> None:
        """Replace all from ``start`` on."""
        end = start + len(new)
        if end > len(self._room):
            room = np.empty(1 << (end - 1).bit_length())
            room[:start] = self._room[:start]
            self._room = room
        self._room[start:end] = new
        self.count = end


class Track:
    """The points of one curve under one look; ``x``, ``y`` and ``smooth`` are of one length.

    Attributes:
        x: Places, never falling.
        y: Values. Of the loss every step stands here, not finite where it diverged; other metrics
            are not measured at every step, and only the measured points stand here.
        smooth: The smoothed line.
        places: Of every step of the curve on the x axis, also of those not measured.
        bad: Rows of the curve with a loss that is not finite.
        curve: What they are of.
    """

    def __init__(self) -> None:
        self.curve: Curve | None = None
        self._look: Look | None = None
        self._reset()

    def _reset(self) -> None:
        self.x = self.y = self.smooth = self.places = np.empty(0)
        self.bad = np.empty(0, dtype=np.int64)
        self._known, self._complete, self._memory = 0, True, START
        self._placed, self._forward, self._both = Grown(), Grown(), Grown()

    def knows(self, curve: Curve, look: Look) -> bool:
        """Say whether an update costs only what was added."""
        return look == self._look and (curve is self.curve or _grown(self.curve, curve))

    def update(self, curve: Curve, look: Look) -> bool:
        """Bring everything up to date; say whether anything changed."""
        if curve is self.curve and look == self._look:
            return False
        if not self.knows(curve, look):
            self._reset()
        self.curve, self._look = curve, look
        fresh = np.flatnonzero(~np.isfinite(curve.loss[self._known :])) + self._known
        self.bad = np.concatenate([self.bad, fresh]) if len(fresh) else self.bad
        self._find_places(curve, look.x)
        self._find_values(curve, look.metric)
        self._smooth(look)
        self._known = len(curve)
        return True

    def _find_places(self, curve: Curve, x: str) -> None:
        if x == "step":
            self.places = curve.step
            return
        known = self._known
        before = float(self.places[-1]) if known else 0.0
        if x == "time":
            last = float(curve.at[known - 1]) if known else None
            self._placed.put(known, series.elapsed(curve.at[known:], before, last))
        else:
            self._placed.put(known, series.never_falling(curve.epoch[known:], before))
        self.places = self._placed.values

    def _find_values(self, curve: Curve, metric: str) -> None:
        values: Column = getattr(curve, metric)
        if metric != "loss":
            self._complete = self._complete and bool(np.isfinite(values[self._known :]).all())
        if metric == "loss" or self._complete:
            self.x, self.y = self.places, values
        else:
            finite = np.isfinite(values)
            self.x, self.y = self.places[finite], values[finite]

    def _smooth(self, look: Look) -> None:
        if not look.decay:
            self.smooth = self.y
            return
        known = self._forward.count
        new, self._memory = series.ema(self.y[known:], look.decay, self._memory)
        self._forward.put(known, new)
        self.smooth = self._forward.values
        if look.both:
            kept = max(0, known - series.reach_back(look.decay))
            tail = series.ema_both_ways(self.y, look.decay, self.smooth, kept)
            self._both.put(kept, tail)
            self.smooth = self._both.values

    def nearest(self, place: float) -> int | None:
        """Return the index of the point nearest to ``place``; None when there are no points."""
        return None if not len(self.x) else nearest(self.x, place)


def tracks_of(curves: Sequence[Curve], look: Look) -> list[Track]:
    """Return new tracks of these curves; shares nothing with others, so in any thread."""
    tracks = [Track() for _ in curves]
    for track, curve in zip(tracks, curves, strict=True):
        track.update(curve, look)
    return tracks


def nearest(places: Column, place: float) -> int:
    """Return the index of the nearest of ``places``, rising and not empty."""
    after = int(np.clip(np.searchsorted(places, place), 1, max(1, len(places) - 1)))
    if len(places) == 1 or place - places[after - 1] <= places[after] - place:
        return after - 1
    return after


def _grown(old: Curve | None, new: Curve) -> bool:
    """Say whether ``new`` is ``old`` with points added: they share their memory then."""
    if old is None or not 0 < len(old) <= len(new):
        return False
    base: Any = old.step.base
    return base is not None and base is new.step.base
