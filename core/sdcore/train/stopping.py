"""Being asked to stop: by a signal, or by the death of whoever started us."""

import ctypes
import os
import signal
from collections.abc import Mapping
from types import FrameType

_PR_SET_PDEATHSIG = 1


class StopFlag:
    """Remembers that a signal asked for a stop; the loop looks at it between steps.

    The handler only sets the flag: saving inside a handler would run in the middle of an update.
    """

    def __init__(self) -> None:
        self.by: str | None = None

    def install(self) -> None:
        """Take SIGTERM, SIGINT and SIGHUP; a second SIGINT interrupts at once."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.by == "SIGINT":
            raise KeyboardInterrupt
        self.by = signal.Signals(number).name


def follow_parent(environ: Mapping[str, str]) -> None:
    """Ask the kernel for SIGTERM when the launcher dies.

    ``accelerate launch`` with one process does not pass SIGTERM on: killed, it would leave this
    process on the GPU. Not done for a trainer started by hand, which ``nohup`` must be able to
    keep alive.
    """
    if "ACCELERATE_MIXED_PRECISION" not in environ and "SDTUI_RUN_DIR" not in environ:
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call: no signal will come
        os.kill(os.getpid(), signal.SIGTERM)
