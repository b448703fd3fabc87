"""Which step of the run a bar stands at: some bars count the run, some begin anew every epoch.

A step is only told where the printed numbers leave one possibility; else there is none.
"""

from sdcore.supervise.foreign.bars import Bar


class Passes:
    """Follows one bar.

    Attributes:
        total: Steps of the whole run, where its bar tells them.
        lost: Its position can no longer be told from what it shows.
    """

    def __init__(self) -> None:
        self.total: int | None = None
        self.lost = False
        self._last: Bar | None = None
        self._first_epoch: int | None = None
        self._by_epoch: bool | None = None  # None: not known yet
        self._lengths: set[int | None] = set()  # of the bars of the epochs
        self._before = 0  # steps of the passes that were seen to their end; without epochs

    def epoch_seen(self, number: int) -> None:
        """Take note of the first epoch that the log names: 0 or 1 tells how it counts."""
        if self._first_epoch is None:
            self._first_epoch = number

    def step(self, bar: Bar, *, begins_at_zero: bool = False) -> int | None:
        """Return the step of the run at which ``bar`` stands.

        Args:
            bar: Drawn after all the earlier ones.
            begins_at_zero: Its trainer is known to call the first epoch 0, one bar each.
        """
        last, self._last = self._last, bar
        if self.lost:
            return None
        if bar.epoch is None:
            return self._by_restarts(bar, last)
        if begins_at_zero:
            self._by_epoch, self._first_epoch = True, 0
        self.epoch_seen(bar.epoch)
        self._lengths |= {bar.total} - {None}  # Lightning may not know it in the first epoch
        if self._by_epoch is None and last is not None:
            self._by_epoch = _begins_anew(bar, last)
        if self._by_epoch:
            return self._of_epoch(bar)
        if self._by_epoch is None and bar.epoch != self._first_epoch:
            return None
        if self._by_epoch is False:
            if last is not None and bar.done < last.done:
                self.lost = True
                return None
            self.total = bar.total
        elif bar.epoch not in {0, 1}:  # the first that was seen is not the first of the run
            return None
        return bar.done

    def _of_epoch(self, bar: Bar) -> int | None:
        first, epoch = self._first_epoch, bar.epoch
        assert epoch is not None
        if first not in {0, 1} or len(self._lengths) > 1 or epoch < first:
            self.lost = first not in {0, 1} or len(self._lengths) > 1
            return None
        if bar.total is None:
            self.lost = epoch > first
            return None if self.lost else bar.done
        self.total = bar.epochs * bar.total if bar.epochs and first == 1 else None
        return (epoch - first) * bar.total + bar.done

    def _by_restarts(self, bar: Bar, last: Bar | None) -> int | None:
        self.total = bar.total if not self._before else None
        if last is not None and bar.done < last.done:
            if last.total is None or last.done != last.total:
                self.lost = True
                return None
            self._before += last.total
            self.total = None
        return self._before + bar.done


def _begins_anew(bar: Bar, last: Bar) -> bool | None:
    """Say whether the bar begins anew with the epoch; None when both are possible."""
    then, now = last.elapsed, bar.elapsed
    if bar.done < last.done or (then is not None and now is not None and now < then):
        return True
    later = then is not None and now is not None and now > then
    return False if later and bar.epoch != last.epoch else None
