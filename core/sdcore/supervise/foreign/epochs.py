"""Which step of the run a line names: ``Epoch [2/3], Step [5/30]`` is the 5th of 30, or of all.

Plain loops of PyTorch count the steps of each epoch anew; others print the same words and count
the run. Only numbers that one of the two could not have printed decide; until then a step of the
first epoch is the same in both, the total is not told, and one of a later epoch is none.
"""

from dataclasses import replace
from itertools import pairwise

from sdcore.supervise.foreign.said import Said


class Epochs:
    """Follows lines that name an epoch and the step of so many.

    Attributes:
        lost: Their steps begin anew, and the number of the first epoch is not known.
    """

    def __init__(self) -> None:
        self.lost = False
        self._anew: bool | None = None  # whether steps begin anew with the epoch; None: not known
        self._first: int | None = None
        self._least: dict[int, int] = {}  # step by epoch, while it is not known
        self._most: dict[int, int] = {}

    def epoch_seen(self, number: int) -> None:
        """Take note of the first epoch that the log names: 0 or 1 tells how it counts."""
        if self._first is None:
            self._first = number

    def placed(self, line: Said) -> Said | None:
        """Return ``line`` with step and total of the run; None where they are not known."""
        if line.epoch is None or line.step is None or line.total is None or line.epochs == 1:
            return line
        epoch, step, length = int(line.epoch), line.step, line.total
        if self._first is None or (epoch in {0, 1} and self._first > 1):
            self._first = epoch  # a word of the log before it, such as an option, was none
        if self._anew is None and epoch != line.epoch:
            self._anew = False  # half an epoch: such a trainer counts the run
        if self._anew is None:
            self._anew = self._decided(epoch, line.epochs, step, length)
        if self._anew is False:
            return line
        if self._anew is None:
            known = epoch == self._first and epoch in {0, 1}
            return replace(line, total=None) if known else None
        return self._in_run(line, epoch, step, length)

    def _decided(self, epoch: int, epochs: int | None, step: int, length: int) -> bool | None:
        """Say what only one way of counting could have printed; None: nothing yet."""
        least, most = self._least, self._most
        least[epoch] = min(step, least.get(epoch, step))
        most[epoch] = max(step, most.get(epoch, step))
        order = sorted(most)
        if any(least[later] <= most[early] for early, later in pairwise(order)):
            return True
        if epochs is not None and self._first in {0, 1}:
            # A step of the run lies in its epoch's share of it; shares may be uneven by one.
            share, begun = length / epochs, epoch - self._first
            if not begun * share - 1 <= step <= (begun + 1) * share + 1:
                return True
        return False if len(order) > 1 else None

    def _in_run(self, line: Said, epoch: int, step: int, length: int) -> Said | None:
        if self._first not in {0, 1}:
            self.lost = True
            return None
        begun = epoch - self._first
        if begun < 0 or step > length:
            return None
        total = line.epochs * length if line.epochs and begun < line.epochs else None
        return replace(line, step=begun * length + step, total=total)
