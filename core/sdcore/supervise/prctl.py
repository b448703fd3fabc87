"""The process settings of Linux that keep a run's processes together."""

import ctypes
import os
import signal
from contextlib import suppress

_SET_PDEATHSIG, _SET_NAME, _SET_CHILD_SUBREAPER = 1, 15, 36

# Loaded at import: between fork and exec nothing may be looked up on disk.
_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int | bytes) -> None:
    argument = value if isinstance(value, bytes) else ctypes.c_ulong(value)
    if _libc.prctl(option, argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def become_subreaper() -> None:
    """Have every orphan below this process become its child, whatever session it made."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int, number: signal.Signals) -> bool:
    """Receive ``number`` when the parent dies; False if it is gone already.

    Call it from the process's only thread: the kernel means the thread that forked.

    Args:
        parent: Pid the caller's parent must still have; a parent that died before this call
            sends nothing any more.
        number: The signal.
    """
    _prctl(_SET_PDEATHSIG, number)
    return os.getppid() == parent


def fresh_signals() -> None:
    """Give every signal its default back and block none: both would survive an exec.

    Under nohup a trainer would be deaf to its stop. Fit for ``preexec_fn``.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with suppress(OSError):  # two real-time signals belong to the C library
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def set_name(name: str) -> None:
    """Show ``name``, 15 bytes at most, in ``ps`` and ``top``."""
    _prctl(_SET_NAME, name.encode()[:15])
