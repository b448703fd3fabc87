"""Signals as bytes on a descriptor, so that one ``select`` waits for everything."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType


class Wakeup:
    """Collects signals; ``fileno()`` is readable when there are some."""

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in numbers:
            # A handler is needed for the byte to be written; the work is done by the loop.
            signal.signal(number, self._ignore)

    @staticmethod
    def _ignore(_number: int, _frame: FrameType | None) -> None: ...

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._read

    def drain(self) -> set[signal.Signals]:
        """Return the signals since the last call, each once."""
        got = b""
        with suppress(BlockingIOError):
            while chunk := os.read(self._read, 512):
                got += chunk
        return {signal.Signals(byte) for byte in got}

    def close(self) -> None:
        """Stop collecting; for a forked child that sets up its own."""
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)
