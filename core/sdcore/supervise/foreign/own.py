"""A pattern of the user's own, matched against a clock: no pattern may hold up a run's records."""

import re
import signal
from types import FrameType

from sdcore.supervise.foreign.said import Said, count, measure, to_number
from sdcore.text import clean

_LIMIT_S = 1.0  # of computing, for one line
_MAX_LINE = 2000  # characters
TOO_SLOW = (
    f"the pattern in [metrics] took over {_LIMIT_S:g} s for one line and is not used any more; "
    "write it with fewer repeats"
)


class _TooSlowError(Exception):
    """The clock ran out inside the pattern; ``re`` lets signals through."""


class OwnPattern:
    """Finds step and loss; for the main thread of a process that uses SIGVTALRM for nothing else.

    Attributes:
        trouble: Set once the pattern was too slow; it finds nothing from then on.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)
        self.trouble: str | None = None
        signal.signal(signal.SIGVTALRM, self._ring)

    @staticmethod
    def _ring(_number: int, _frame: FrameType | None) -> None:
        raise _TooSlowError

    def __call__(self, text: str) -> Said | None:
        """Return what the pattern finds in one line or bar."""
        if self.trouble is not None:
            return None
        text = clean(text[:_MAX_LINE])
        try:
            # Of computing, not of time: a busy host must not make a good pattern a slow one.
            signal.setitimer(signal.ITIMER_VIRTUAL, _LIMIT_S)
            match = self._pattern.search(text)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except _TooSlowError:
            self.trouble = TOO_SLOW
            return None
        return None if match is None else _said(match)


def _said(match: re.Match[str]) -> Said | None:
    numbers = {
        name: number
        for name, text in match.groupdict().items()
        if text is not None and (number := to_number(text.rstrip(",;)]}"))) is not None
    }
    step = count(numbers.get("step"))
    if not step or "loss" not in numbers:
        return None
    return Said(
        step=step,
        total=count(numbers.get("total")) or None,
        loss=numbers["loss"],
        loss_name="loss",
        lr=measure(numbers.get("lr")),
        epoch=measure(numbers.get("epoch")),
        grad_norm=numbers.get("grad_norm"),
        images_per_s=measure(numbers.get("images_per_s")),
        it_per_s=measure(numbers.get("it_per_s")),
    )
