"""The metrics of a run as columns, kept up with while it is written.

A long file is sampled at once and read in the background, so that a run of a million steps shows
its whole curve in the first second; ``Curve.coarse`` says so until every step is there.
"""

from dataclasses import dataclass

from sdcore.runs.files import LineTail
from sdcore.runs.follow import step_metrics
from sdcore.runs.paths import RunDir
from sdtui.live.curve_columns import Column, Columns, rows_of
from sdtui.live.curve_source import Bulk, sample

_AT_ONCE = 1 << 20  # bytes that one look reads itself; 5,000 lines, 50 ms


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One row per optimizer step, by rising step; what was not measured is NaN.

    Two curves are equal only when they are the same object: a reader makes a new one exactly when
    something changed. The columns of a curve that only grew are views of the same memory as those
    of the one before it, which is how a chart knows.

    Attributes:
        step: Optimizer steps completed, from 1.
        at: Seconds since the epoch, by a clock that may have been set back.
        epoch: Passes over the data.
        loss: May be infinite or NaN where training diverged.
        lr: Learning rate.
        grad_norm: L2 norm of the gradient before clipping.
        images_per_s: Over all ranks.
        gpu_allocated: Bytes torch held.
        gpu_peak: Bytes torch held at most.
        val_loss: On images held out of training, at the few steps that measure it.
        coarse: Only some of the steps are here yet; the rest is still being read.
    """

    step: Column
    at: Column
    epoch: Column
    loss: Column
    lr: Column
    grad_norm: Column
    images_per_s: Column
    gpu_allocated: Column
    gpu_peak: Column
    val_loss: Column
    coarse: bool = False

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.step)


def curve_of(columns: Columns, *, coarse: bool = False) -> Curve:
    """Return what the columns hold now."""
    return Curve(**columns.views(), coarse=coarse)


EMPTY = curve_of(Columns())
UNREAD = curve_of(Columns(), coarse=True)


class CurveReader:
    """Reads the curve of one run; ``poll`` returns the same object while nothing is new."""

    def __init__(self, run: RunDir) -> None:
        self._path = run.metrics
        self._curve, self._columns, self._tail = EMPTY, Columns(), LineTail(run.metrics)
        self._bulk: Bulk | None = None
        self._opened = self._behind = False

    def poll(self) -> Curve:
        """Return the curve up to now."""
        changed = self._open() if not self._opened else False
        if self._bulk is not None and self._bulk.over:
            self._settle(self._bulk)
            changed = True
        changed = self._follow() or changed
        coarse = self._bulk is not None or self._behind
        if changed or coarse != self._curve.coarse:
            self._curve = curve_of(self._columns, coarse=coarse)
        return self._curve

    def close(self) -> None:
        """Stop reading."""
        if self._bulk is not None:
            self._bulk.stop()
            self._bulk = None

    def _open(self) -> bool:
        """Begin: a long file is read elsewhere, and a sample of it here."""
        self._opened = True
        try:
            size = self._path.stat().st_size
            if size <= _AT_ONCE:
                return False
            self._bulk = Bulk(self._path, size)
            self._columns.take(sample(self._path, size))
        except FileNotFoundError:  # not begun, or just removed
            return False
        self._tail = LineTail(self._path, size)  # new lines count while the old ones are read
        return True

    def _settle(self, bulk: Bulk) -> None:
        """Put what was read in the place of the sample; what came meanwhile is read again."""
        self._bulk, done = None, bulk.offset is not None
        self._columns = bulk.columns if done else Columns()
        # Did the reader fail, then these looks read the file themselves, a piece at a time.
        self._tail = LineTail(self._path, bulk.offset or 0)

    def _follow(self) -> bool:
        """Take in new lines, about ``_AT_ONCE`` bytes of them; say whether anything changed."""
        restarts, before = self._tail.restarts, self._tail.offset
        lines = [line for record in self._tail.records(_AT_ONCE) if (line := step_metrics(record))]
        self._behind = self._tail.offset - before > _AT_ONCE // 2
        cut = self._tail.restarts != restarts
        if cut:  # the file was cut: nothing read before counts
            self.close()
            self._columns = Columns()
        return self._columns.take(rows_of(lines)) if lines else cut
