"""The columns of a curve: packed rows in, views of the first n out.

A view that was handed out never changes: rows are only added behind it, and what a resume makes
void is dropped from copies.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sdcore.runs.follow import StepMetrics

Column = NDArray[np.float64]
NAMES = ("at", "step", "epoch", "loss", "lr", "grad_norm", "images_per_s",
         "gpu_allocated", "gpu_peak", "val_loss")  # fmt: skip
WIDTH = 1 + len(NAMES)  # numbers of a packed row: the attempt, then the columns
_STEP = 1 + NAMES.index("step")
_FIRST_ROOM = 1 << 10  # rows; doubled, so that a million fit in 2**20
_NAN = float("nan")


def packed(line: StepMetrics) -> list[float]:
    """Return one line as a row; what was not measured is NaN."""
    row = [float(line.attempt)]
    for name in NAMES:
        value = getattr(line, name)
        row.append(_NAN if value is None else float(value))
    return row


def rows_of(lines: Iterable[StepMetrics]) -> Column:
    """Return lines as rows, (n, ``WIDTH``)."""
    return np.array([packed(line) for line in lines], dtype=np.float64).reshape(-1, WIDTH)


class Columns:
    """Grows by rows as ``Follower`` places them: by rising step, the last attempt counts."""

    def __init__(self) -> None:
        self.count = 0
        self._attempt = 0.0  # of the last row; no later row of a lower one counts
        self._arrays = {name: np.empty(_FIRST_ROOM) for name in NAMES}

    def take(self, rows: Column) -> bool:
        """Place rows, (n, ``WIDTH``), in the order of the file; say whether anything changed."""
        attempts = np.maximum.accumulate(np.append(self._attempt, rows[:, 0]))
        kept = rows[rows[:, 0] >= attempts[:-1]]  # the others: a rank of an ended attempt
        if not len(kept):
            return False
        self._attempt = float(attempts[-1])
        steps = kept[:, _STEP]
        falls = np.flatnonzero(steps[1:] <= steps[:-1]) + 1
        for part in np.split(kept, falls):
            self._place(part)
        return True

    def views(self) -> dict[str, Column]:
        """Return each column up to now, read-only."""
        found = {}
        for name, array in self._arrays.items():
            view = array[: self.count]
            view.flags.writeable = False
            found[name] = view
        return found

    def _place(self, rows: Column) -> None:
        """Add rows of rising steps; what is there from the first of them on is void."""
        steps = self._arrays["step"][: self.count]
        place = int(np.searchsorted(steps, rows[0, _STEP]))
        if place < self.count:
            self._arrays = {name: array.copy() for name, array in self._arrays.items()}
        end = place + len(rows)
        for number, name in enumerate(NAMES, 1):
            array = self._arrays[name]
            if end > len(array):
                array = _larger(array, place, end)
                self._arrays[name] = array
            array[place:end] = rows[:, number]
        self.count = end


def _larger(array: Column, count: int, want: int) -> Column:
    """Return a copy with room for ``want`` rows, doubled until it fits."""
    room = len(array)
    while room < want:
        room *= 2
    grown = np.empty(room)
    grown[:count] = array[:count]
    return grown
