"""Saves checkpoints while training goes on: the copy stalls it, the writing does not.

One save is in flight at most; it holds its own copy of the state, so that a full disk costs
nothing but time. ``Keeper`` is called by all ranks alike; rank 0 alone copies and writes.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from sdcore.train import checkpoint, memory
from sdcore.train.checkpoint import Contents, Progress, Saved
from sdcore.train.parts import Part
from sdcore.train.pinning import wait_for
from sdcore.train.world import Beat
from sdcore.units import size

_TICK = 1.0  # s between two signs of life of one that waits for the disk
_RESERVE = 1 << 30  # bytes of host memory that a copy must leave free: loaders, other programs


class Copied(NamedTuple):
    """A state that can be written.

    Attributes:
        contents: See there.
        alone: Whether it holds the state itself, so that training may go on.
        because: Why it does not.
    """

    contents: Contents
    alone: bool
    because: str | None


@dataclass
class Saver:
    """Copies and writes; on rank 0 alone.

    Attributes:
        parent: The folder of checkpoints.
        keep: Newest checkpoints kept; None keeps all.
        parts: What a checkpoint is made of.
        device: Where they are trained.
    """

    parent: Path
    keep: int | None
    parts: Sequence[Part]
    device: torch.device
    _contents: Contents | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _result: Saved | BaseException | None = field(default=None, init=False)

    @property
    def size(self) -> int:
        """About the bytes of a checkpoint on disk."""
        return sum(part.size for part in self.parts)

    @property
    def busy(self) -> bool:
        """Whether a save is on its way, or ended and was not waited for."""
        return self._thread is not None

    @property
    def landed(self) -> bool:
        """Whether a save has ended, well or not, that was not waited for."""
        return self._thread is not None and not self._thread.is_alive()

    def copy(self, progress: Progress) -> Copied:
        """Take the state of now; into memory of our own where there is enough."""
        begun, because = time.monotonic(), self._no_memory()
        if because is None:
            try:
                writes = [part.snapshot(copied=True) for part in self.parts]
                wait_for(self.device)  # once: the copies of all parts are queued on it
                contents = Contents(progress, self.size, writes, begun)
                return Copied(contents, alone=True, because=None)
            except (RuntimeError, MemoryError) as error:  # page-locked memory has limits of its own
                because = f"the state could not be copied: {str(error).splitlines()[0]}"
        writes = [part.snapshot(copied=False) for part in self.parts]
        contents = Contents(progress, self.size, writes, begun)
        return Copied(contents, alone=False, because=because)

    def start(self, contents: Contents) -> None:
        """Write in a thread; only when none is ``busy``."""
        assert self._thread is None, "one save at a time"
        self._contents = contents
        # A daemon: leaving at once (SIGINT twice) leaves a .partial, which the next start removes.
        self._thread = threading.Thread(
            target=self._write, args=(contents,), name="checkpoint", daemon=True
        )
        self._thread.start()

    def wait(self, beat: Beat | None = None) -> Saved:
        """Wait for the save on its way. Called again after an error, write it again, now.

        Args:
            beat: Called every second meanwhile.

        Raises:
            SdError: It failed; a ``DiskFullError`` where there may be room later.
        """
        assert self._contents is not None
        if self._thread is None:
            self.start(self._contents)
        assert self._thread is not None
        while self._thread.is_alive():
            self._thread.join(_TICK)
            if beat is not None:
                beat()
        self._thread = None
        if isinstance(self._result, Saved):
            return self._result
        assert self._result is not None
        raise self._result

    def _write(self, contents: Contents) -> None:
        try:
            self._result = checkpoint.save(self.parent, contents, self.keep)
        except BaseException as error:  # noqa: BLE001 - raised again by ``wait``
            self._result = error

    def _no_memory(self) -> str | None:
        """Say why the state should not be copied, or None."""
        missing = sum(part.size for part in self.parts if not part.held)
        # torch rounds each block of page-locked memory up to a power of two.
        missing *= 2 if self.device.type == "cuda" else 1
        free = memory.available()
        if missing == 0 or free is None or free >= missing + _RESERVE:
            return None
        return f"a copy takes {size(missing)} of host memory, and {size(free)} are free"
