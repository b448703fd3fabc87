"""Reads numbers from the device one step late, so that no step waits for them."""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from sdcore.train.pinning import PageLocks

Note = TypeVar("Note")


@dataclass(frozen=True, slots=True)
class _Pending(Generic[Note]):
    host: Tensor
    copied: "torch.cuda.Event | None"
    note: Note


class LateReader(Generic[Note]):
    """A queue of small vectors on their way to the host."""

    def __init__(self) -> None:
        self._pending: deque[_Pending[Note]] = deque()
        self._locks = PageLocks()

    def push(self, values: Tensor, note: Note) -> None:
        """Start the copy of ``values``; ``note`` comes back with them."""
        if values.device.type != "cuda":
            self._pending.append(_Pending(values.detach().clone(), None, note))
            return
        host = self._locks.locked(torch.empty_like(values, device="cpu"))
        host.copy_(values.detach(), non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        self._pending.append(_Pending(host, copied, note))

    def take(self, *, keep: int = 1) -> list[tuple[list[float], Note]]:
        """Return all but the newest ``keep`` vectors, oldest first, waiting for their copies."""
        ready = []
        while len(self._pending) > keep:
            item = self._pending.popleft()
            if item.copied is not None:
                item.copied.synchronize()
            ready.append((item.host.tolist(), item.note))
        return ready
