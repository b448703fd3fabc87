"""The state of every run, read often and cheaply: a run that is over is not read again."""

import time
from typing import NamedTuple

from sdcore.runs.logs import Mask
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status, read_status
from sdcore.runs.store import all_runs
from sdtui.secrets import mask_of, masked_status, own_secrets, tells

_LOST_S = 5.0  # an interrupted run may be resumed, but nothing of it changes by itself


class _Known(NamedTuple):
    status: Status
    exit: tuple[int, int] | None  # mtime in ns and inode of exit.json
    read: float
    mask: Mask | None  # of its secrets, once a text of it was read


class Catalogue:
    """All runs; ``poll`` returns an equal tuple while nothing is new."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._own = own_secrets()

    def poll(self) -> tuple[Status, ...]:
        """Return every run's status, newest first."""
        runs = all_runs()
        self._known = {run.id: self._look(run) for run in runs}
        return tuple(known.status for known in self._known.values())

    def _look(self, run: RunDir) -> _Known:
        known, exit_ = self._known.get(run.id), _exit_of(run)
        now = time.monotonic()
        if known is not None and known.exit == exit_:
            lost = known.status.state == "interrupted" and now - known.read < _LOST_S
            if exit_ is not None or lost:
                return known
        status, mask = read_status(run), known.mask if known is not None else None
        if tells(status):
            mask = mask or mask_of(run, self._own)
            status = masked_status(status, mask)
        return _Known(status, exit_, now, mask)


def _exit_of(run: RunDir) -> tuple[int, int] | None:
    try:
        found = run.exit.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
