"""Locks that end with the process that holds them, whatever ends it."""

import errno
import fcntl
import os
import time
from pathlib import Path

from sdcore.runs.files import PRIVATE


def take(path: Path, patience: float = 0.0) -> int | None:
    """Take the lock on ``path`` and return its descriptor, or None if another holds it.

    Args:
        path: Created when missing in a folder that exists; its content means nothing. When it
            was moved or removed with its folder while we waited, the lock we got protects
            nothing: then it is opened anew.
        patience: Seconds to go on trying: a reader that probes the lock with ``is_held`` has
            it for microseconds, and a real holder must not be turned away by that.

    Raises:
        FileNotFoundError: The folder of ``path`` is gone.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                os.close(descriptor)
                raise
            if time.monotonic() >= end:
                os.close(descriptor)
                return None
            time.sleep(0.005)
        else:
            if _is_at(path, descriptor):
                return descriptor
            os.close(descriptor)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """Say whether a living process holds the lock on ``path``.

    Raises:
        OSError: It is there but cannot be opened, so it is not known.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that readers do not see one another.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return True
        raise
    finally:
        os.close(descriptor)
    return False
