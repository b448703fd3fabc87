"""What becomes of a job whose attempt has ended: cancelled, back in the queue, or nobody knows.

Slurm sends the same SIGTERM for all of it, and while it takes a job off its nodes it calls its
state COMPLETING, whatever follows. So the count of its restarts is looked at, and what slurmstepd
wrote into the job's own output, which needs no controller.
"""

import re
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from sdcore.cluster import calls
from sdcore.cluster.calls import JobNow
from sdcore.runs.squeue import WAITS

TIME_LIMIT = "Slurm's time limit"
TAKEN_OFF = "Slurm, which takes the job off its nodes"
# The end that slurmctld notes when it ends a job may be ahead of this node's clock.
_CLOCKS_S = 60.0
_NOTICE = re.compile(rb"\*\*\* JOB \d+ ON \S+ CANCELLED AT \S+ (?:DUE TO ([A-Z ]+))?")
_WINDOW = 1 << 16
_BY = {
    "JOB REQUEUE": "a requeue of its job",
    "NODE FAILURE": "the failure of a node",
    "PREEMPTION": TAKEN_OFF,
    "TIME LIMIT": TIME_LIMIT,
}


class Course(Enum):
    """What Slurm does with a job next."""

    RUNNING = "it may go on"
    BACK = "Slurm has put it back into the queue"
    OVER = "it does not come back"
    UNKNOWN = "Slurm does not answer"


class Fate(NamedTuple):
    """What becomes of a job.

    Attributes:
        course: See there.
        by: Who ended its attempt, in words that follow "stopped by".
    """

    course: Course
    by: str


def judge(now: JobNow | None, notice: str | None, restarts: int, at: float) -> Fate:
    """Tell the fate of a job that was told to end. Pure.

    Args:
        now: What Slurm says of it; None: nothing.
        notice: What slurmstepd gave as the cause; empty: none, as after a scancel; None: it was
            not read.
        restarts: Of the attempt that ended.
        at: The time, in seconds since the epoch.
    """
    by = _BY.get(notice or "", TAKEN_OFF)
    if now is None:
        return Fate(Course.UNKNOWN, "scancel" if notice == "" else by)
    if now.restarts > restarts or now.state in WAITS:
        return Fate(Course.BACK, by)
    if now.state == "RUNNING":
        return Fate(Course.RUNNING, by)
    if now.state == "COMPLETING" and (now.end is None or now.end > at + _CLOCKS_S):
        return Fate(Course.BACK, by)  # one that is over has an end
    if now.reason == "TimeLimit":
        by = TIME_LIMIT
    elif notice in {None, ""}:
        by = "scancel"
    return Fate(Course.OVER, by)


class Inquiry:
    """Asks for the fate of one job.

    Args:
        job: Its number.
        restarts: Of the attempt that runs.
        log: The job's own output, in which earlier attempts have written, too.
    """

    def __init__(self, job: str, restarts: int, log: Path) -> None:
        self._job, self._restarts, self._log = job, restarts, log
        self._from = _size(log)

    def look(self) -> Fate:
        """Ask Slurm once."""
        return judge(calls.state_of(self._job), self._notice(), self._restarts, time.time())

    def wait(self, seconds: float, given_up: Callable[[], bool]) -> Fate:
        """Ask until Slurm answers; after ``seconds``, or when ``given_up``, it is not known."""
        end = time.monotonic() + seconds
        while (fate := self.look()).course is Course.UNKNOWN:
            if given_up() or time.monotonic() > end:
                break
            time.sleep(1.0)
        return fate

    def _notice(self) -> str | None:
        try:
            with self._log.open("rb") as file:
                file.seek(max(self._from, _size(self._log) - _WINDOW))
                found = _NOTICE.search(file.read())
        except OSError:
            return None
        return None if found is None else (found[1] or b"").decode().strip()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
