"""Reads GPUs and host memory once a second, and never lets the driver hold up the supervisor."""

import os
import queue
import threading
import time
from collections.abc import Collection
from contextlib import suppress

from sdcore.gpu.nvml import open_nvml
from sdcore.gpu.samples import GpuSample, Unavailable
from sdcore.supervise import procs

Reading = list[GpuSample] | Unavailable

# Opening wakes every GPU that no program uses, seconds each without the persistence daemon.
OPEN_STALL_S, STALL_S = 60.0, 5.0
_WALK_EVERY_S = 5.0


class GpuSampler:
    """A thread that opens NVML and reads on request; ``fileno()`` tells when it has read.

    A call into a sick driver may never return. The thread is then lost, the supervisor is not.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Collection[str] | None] = queue.SimpleQueue()
        self._readings: queue.SimpleQueue[Reading] = queue.SimpleQueue()
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._asked_at: float | None = None
        self._told_stall = False
        self._limit = OPEN_STALL_S
        threading.Thread(target=self._serve, name="nvml", daemon=True).start()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._read

    def ask(self, only: Collection[str] | None = None) -> None:
        """Have the devices ``only``, or all, read; nothing happens while a reading is under way."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._orders.put(only)

    def take(self) -> Reading | None:
        """Return a reading that is ready; once per stall, that there is none; else None."""
        try:
            reading = self._readings.get_nowait()
        except queue.Empty:
            return self._stall()
        with suppress(BlockingIOError):
            os.read(self._read, 64)
        self._asked_at, self._told_stall, self._limit = None, False, STALL_S
        return reading

    def _stall(self) -> Unavailable | None:
        if self._asked_at is None or self._told_stall:
            return None
        waited = time.monotonic() - self._asked_at
        if waited < self._limit:
            return None
        self._told_stall = True
        return Unavailable("stalled", f"the NVIDIA driver has not answered for {waited:.0f} s")

    def _serve(self) -> None:
        nvml = open_nvml()
        if not isinstance(nvml, Unavailable):
            nvml.watch()
        while True:
            only = self._orders.get()
            self._readings.put(nvml if isinstance(nvml, Unavailable) else nvml.read(only))
            os.write(self._write, b"r")


class TreeMemory:
    """Resident memory of all processes below one, and its peak, in bytes.

    Pages that processes share count once for each: an upper bound. The tree is walked every
    five seconds and its known members are read in between, since a walk reads every process of
    the host.
    """

    def __init__(self, root: int, spare: Collection[int]) -> None:
        self._root, self._spare = root, spare
        self._members: list[procs.Proc] = []
        self._walked = float("-inf")
        self.peak: int | None = None

    def sample(self, now: float) -> None:
        """Read the tree; ``now`` is in monotonic seconds."""
        if now - self._walked >= _WALK_EVERY_S:
            self._walked = now
            self._members = [p for p in procs.below(self._root) if p.pid not in self._spare]
        else:
            again = [(old, procs.read(old.pid)) for old in self._members]
            self._members = [new for old, new in again if new and new.ticks == old.ticks]
        if self._members:
            self.peak = max(self.peak or 0, sum(member.rss for member in self._members))
