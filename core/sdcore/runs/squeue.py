"""Asks Slurm how this user's jobs are doing: one call for all of them, kept for seconds.

Standard library only. No name, comment or path is asked for: they come back raw, with newlines
and escapes. A controller that does not answer is an answer of its own kind, never an end.
"""

import os
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from sdcore.text import clean_line

# How long an answer counts, in seconds; one that failed longer, as squeue tries for 18 s itself.
_FRESH_S, _FRESH_FAILURE_S, _PATIENCE_S = 2.0, 10.0, 4.0
_OLD_S = 20.0  # nobody looked for so long: the next look waits again
# The states of a job that has no nodes, or none yet that it can use.
WAITS = frozenset(
    ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING")
)
_FIELDS = "%i|%T|%r|%N|%e|%S"
_PREFIXES = ("SQUEUE_", "SLURM_")


class Job(NamedTuple):
    """A job as Slurm tells of it; times in seconds since the epoch.

    Attributes:
        id: Its number.
        state: Slurm's word in capitals: PENDING, RUNNING, NODE_FAIL, …
        reason: Why it waits or ended, in Slurm's word; empty when there is none.
        nodes: In Slurm's short form, ``n[1-2]``; empty before it has some.
        end: When it ended, or will by its limit.
        start: When it began, or will as Slurm expects.
    """

    id: str
    state: str
    reason: str = ""
    nodes: str = ""
    end: float | None = None
    start: float | None = None


class Answer(NamedTuple):
    """What squeue said.

    Attributes:
        at: When it was asked, in monotonic seconds.
        jobs: By id; None when it did not answer.
        trouble: Why not, in one line.
    """

    at: float
    jobs: Mapping[str, Job] | None
    trouble: str = ""

    @property
    def fresh(self) -> bool:
        """Whether it may still be used without asking again."""
        limit = _FRESH_S if self.jobs is not None else _FRESH_FAILURE_S
        return time.monotonic() - self.at < limit


def ask(*more: str, patience: float = _PATIENCE_S) -> Answer:
    """Run squeue once.

    Args:
        more: Further options, such as ``--name=…``.
        patience: Seconds.
    """
    import subprocess  # noqa: PLC0415  # 8 ms that `sdtui ls` without a cluster must not pay

    at = time.monotonic()
    argv = ["squeue", "--noheader", f"--user={os.getuid()}", "--states=all",
            f"--format={_FIELDS}", *more]  # fmt: skip
    env = {name: v for name, v in os.environ.items() if not name.startswith(_PREFIXES)}
    if "SLURM_CONF" in os.environ:
        env["SLURM_CONF"] = os.environ["SLURM_CONF"]
    try:
        done = subprocess.run(
            argv, env={**env, "SLURM_TIME_FORMAT": "%s"}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=patience, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Answer(at, None, f"the Slurm controller does not answer within {patience:g} s")
    except OSError as error:
        return Answer(at, None, f"squeue cannot be run: {error.strerror}")
    if done.returncode:
        words = clean_line(done.stderr.strip() or f"squeue ended with {done.returncode}", 200)
        return Answer(at, None, f"Slurm does not answer: {words}")
    found = (_parse(line) for line in done.stdout.splitlines())
    return Answer(at, {job.id: job for job in found if job is not None})


def _parse(line: str) -> Job | None:
    parts = [clean_line(part.strip(), 200) for part in line.split("|")]
    if len(parts) != len(_FIELDS.split("|")) or not parts[0].isdecimal():
        return None
    reason = "" if parts[2] in {"None", "(null)", "N/A"} else parts[2]
    return Job(parts[0], parts[1], reason, parts[3], _moment(parts[4]), _moment(parts[5]))


def _moment(text: str) -> float | None:
    return float(text) if text.isdecimal() else None


class Watch:
    """Answers about jobs without asking more than once in seconds, or holding up who looks often.

    The first look waits; later ones take the last answer while a thread fetches the next.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: Answer | None = None
        self._fetching = False
        self._gone: set[str] = set()

    def answer(self) -> Answer:
        """Return an answer that is fresh, or soon will be."""
        with self._lock:
            last = self._last
            if last is None or time.monotonic() - last.at > _OLD_S:
                self._last = last = ask()
                return last
            if not last.fresh and not self._fetching:
                self._fetching = True
                threading.Thread(target=self._fetch, name="squeue", daemon=True).start()
            return last

    def _fetch(self) -> None:
        found = ask()
        self._last, self._fetching = found, False

    def look(self, job: str) -> Job | Answer | None:
        """Return what Slurm knows of ``job``: it; the answer that told nothing; None when gone.

        That a job is gone is only taken from a question asked after we knew of the job: an
        answer may be older than its submission.
        """
        answer = self.answer()
        if answer.jobs is not None and job not in answer.jobs and job not in self._gone:
            answer = self._last = ask()
            if answer.jobs is not None and job not in answer.jobs:
                self._gone.add(job)
        if answer.jobs is None:
            return answer
        return answer.jobs.get(job)


WATCH = Watch()
