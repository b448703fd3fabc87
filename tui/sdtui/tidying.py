"""Collects garbage while nobody types.

Python looks through everything that lives whenever it has grown by a quarter: 20 to 60 ms in the
console, in the middle of whatever a key set off. So that is done by hand, in quiet moments. What
dies young, nearly all, Python still collects by itself, in a millisecond.
"""

import gc
import time

_NEVER = 1_000_000_000
_QUIET_S = 2.0  # since the last key
_PAUSE_S = 60.0  # between two collections


class Tidier:
    """Takes over from Python, which may have been told not to collect at all until now.

    What was loaded to begin with is never looked through: it is no garbage.
    """

    def __init__(self) -> None:
        gc.freeze()
        young, middle, _old = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        gc.enable()
        self._tidied = time.monotonic()

    def tidy(self, typed: float) -> None:
        """Collect, unless a person is at it or it was done just now.

        Args:
            typed: When the last key was pressed, on the monotonic clock.
        """
        now = time.monotonic()
        if now - typed > _QUIET_S and now - self._tidied > _PAUSE_S:
            gc.collect()
            self._tidied = time.monotonic()
