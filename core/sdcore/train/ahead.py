"""Prepares the batches of the next passes in a thread, while the device works on this one.

Where a step waits for the device (fp16, and whatever else ``optimizing`` names), making the next
batch would come after the wait, with the device idle. The thread does the host's half alone; all
that touches the device stays in the main thread, and so does every change: what the thread made
is taken only if it began from the state of now, and is made again otherwise. So batches, errors
and the step at which they come are those without it.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import torch

from sdcore.train.batches import Batches, Loaded
from sdcore.train.step import Batch

_PASSES = 2  # one is worked on, one lies ready: a slow image costs no wait


class _Order(NamedTuple):
    positions: list[int]
    made: Future[Loaded]


def passes_ahead(device: torch.device) -> int:
    """Return how many passes to prepare ahead.

    None on a CPU, which computes the step with the same cores.
    """
    return _PASSES if device.type == "cuda" else 0


class Ahead:
    """Gives the batches of passes that follow one another.

    Args:
        batches: Makes them.
        stride: From a position of a pass to that of this process's next pass.
        passes: To prepare ahead; 0 prepares none, and has no thread.
    """

    def __init__(self, batches: Batches, stride: int, passes: int) -> None:
        self._batches, self._stride, self._passes = batches, stride, passes
        self._waiting: deque[_Order] = deque()
        self._pool: ThreadPoolExecutor | None = None
        if passes:
            self._pool = ThreadPoolExecutor(1, "batches", partial(_enter, batches.device))

    def take(self, positions: list[int]) -> Batch:
        """Return the batch of these samples; meanwhile those that follow are prepared.

        Raises:
            SdError: As ``Batches.at``.
        """
        loaded = self._loaded(positions)
        self._order_after(positions, loaded.after)
        return self._batches.place(loaded)

    def close(self) -> None:
        """Forget what was prepared and end the thread, which ends the batch it is at."""
        self._forget()
        if self._pool is not None:
            self._pool.shutdown()

    def _loaded(self, positions: list[int]) -> Loaded:
        bad = self._batches.faults.bad
        if self._waiting and self._waiting[0].positions == positions:
            made = self._waiting.popleft().made
            # An error may be of a state that is past: if it is not, it comes again below.
            if made.exception() is None and made.result().before == bad:
                return made.result()
        self._forget()
        return self._batches.load(positions, bad)

    def _order_after(self, positions: Sequence[int], bad: frozenset[int]) -> None:
        while self._pool is not None and len(self._waiting) < self._passes:
            last = self._waiting[-1] if self._waiting else _Order(list(positions), Future())
            before = last.made if self._waiting else None
            following = [position + self._stride for position in last.positions]
            made = self._pool.submit(self._make, following, before, bad)
            self._waiting.append(_Order(following, made))

    def _make(
        self, positions: list[int], before: "Future[Loaded] | None", bad: frozenset[int]
    ) -> Loaded:
        """Load a batch; ``before``, of the pass before it, is done: there is one thread."""
        return self._batches.load(positions, bad if before is None else before.result().after)

    def _forget(self) -> None:
        for order in self._waiting:
            order.made.cancel()
        self._waiting.clear()


def _enter(device: torch.device) -> None:
    """Choose the GPU of a new thread, whose page-locks would else begin to use the first one."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
