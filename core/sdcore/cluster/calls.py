"""Calls Slurm's programs. Every word of theirs is cleaned before it goes on.

Standard library only, since the supervisor in a job uses it. What reads the state of jobs often
is ``runs.squeue``; here is what happens once for a run.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from sdcore.errors import NotReadyError
from sdcore.launch import slurm
from sdcore.runs.squeue import ask
from sdcore.text import clean_line

# sbatch itself tries for 18 s to reach a controller that is away.
_PATIENCE_S, _LOOK_S = 45.0, 5.0
_NOISE = re.compile(r"^(sbatch|allocation failure|srun|scontrol|scancel)(: error)?: ")


# Nobody has heard it; somebody may have, and the answer was lost.
_AWAY = re.compile(r"contact slurm controller|in standby mode", re.IGNORECASE)
_SILENT = re.compile(
    r"Socket timed out|Zero Bytes were|Message (send|receive) failure|Connection reset by peer"
    r"|Broken pipe|Communication (connection|shutdown) failure|Unexpected message received"
    r"|Transport endpoint is not connected",
    re.IGNORECASE,
)


class JobNow(NamedTuple):
    """What Slurm says of a job at this moment.

    Attributes:
        state: Slurm's word in capitals; COMPLETING hides what comes after.
        restarts: How often it went back to the queue; counted when it leaves its nodes.
        end: When it ended, or will by its limit, in seconds since the epoch; None while it waits,
            also while it is still being taken off its nodes.
        reason: Why it waits or ended, in Slurm's words.
    """

    state: str
    restarts: int
    end: float | None = None
    reason: str = ""


def call(
    argv: Sequence[str], *, stdin: str = "", patience: float = _PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run one of Slurm's programs in an environment without surprises.

    Raises:
        NotReadyError: It is not there, or does not come back.
    """
    try:
        return subprocess.run(
            argv, env=slurm.for_tools(os.environ), input=stdin, capture_output=True, text=True,
            errors="replace", timeout=patience, check=False, umask=0o077,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise unreachable(f"{argv[0]} is not on PATH") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise silent(clean_line(f"{argv[0]}: {error}", 300)) from error


def unreachable(cause: str) -> NotReadyError:
    """Build the error for a machine that belongs to no cluster."""
    return NotReadyError(
        "Slurm cannot be reached from this machine",
        cause=cause,
        remedy="start sdtui on a machine of the cluster, or remove the [cluster] table",
    )


class SilentError(NotReadyError):
    """Slurm does not answer, so what it did is not known.

    Attributes:
        heard: Whether it may have heard what was asked.
    """

    heard = False


def silent(cause: str, *, heard: bool = True) -> SilentError:
    """Build the error for a controller that does not answer."""
    error = SilentError(
        "Slurm does not answer", cause=cause, remedy="try again when `sinfo` answers"
    )
    error.heard = heard
    return error


def silence_in(words: str) -> SilentError | None:
    """Return the error for a program's complaint that the controller did not answer it."""
    if _AWAY.search(words):
        return silent(words, heard=False)
    return silent(words) if _SILENT.search(words) else None


def words_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a program complained of, in one clean line."""
    lines = (_NOISE.sub("", line.strip()) for line in done.stderr.splitlines())
    told = [clean_line(line, 300) for line in lines if line]
    return "; ".join(dict.fromkeys(told)) or f"it ended with {done.returncode} and said nothing"


def cancel_waiting(job: str, restarts: int | None = None) -> bool:
    """Cancel ``job`` if it still waits; say whether it did, and not whether it had begun.

    Args:
        job: Its number.
        restarts: Of its attempt that began last. One that went back to the queue since then
            waits, although Slurm may still be taking it off its nodes.
    """
    now = state_of(job) if restarts is not None else None
    again = now is not None and restarts is not None and now.restarts > restarts
    # Its next attempt, should it begin just now, has nothing yet that could be lost.
    only = [] if again and now is not None and now.state == "COMPLETING" else ["--state=PENDING"]
    done = call(["scancel", *only, job])
    if done.returncode:
        raise NotReadyError(
            f"job {job} cannot be cancelled",
            cause=words_of(done),
            remedy=f"try again, or run: scancel {job}",
        )
    if not only:
        return True
    answer = ask(f"--job={job}", patience=_PATIENCE_S)
    if answer.jobs is None:
        return False
    found = answer.jobs.get(job)
    return found is None or found.state == "CANCELLED"


def cancel(job: str) -> str | None:
    """Cancel ``job``, whatever it does; return what speaks against it, or None."""
    return _trouble(["scancel", job])


def requeue(job: str) -> str | None:
    """Send the job that calls back to the queue; return what speaks against it, or None."""
    return _trouble(["scontrol", "requeue", job])


def _trouble(argv: Sequence[str]) -> str | None:
    try:
        done = call(argv)
    except NotReadyError as error:
        return error.cause
    return words_of(done) if done.returncode else None


def state_of(job: str) -> JobNow | None:
    """Return what Slurm says of ``job`` now; None when it does not answer or knows nothing."""
    # Words without spaces but for the last; names and comments would come back raw.
    fields = "State:40,RestartCnt:12,EndTime:40,Reason:80"
    argv = ["squeue", "--noheader", f"--jobs={job}", "--states=all", f"--Format={fields}"]
    try:
        done = call(argv, patience=_LOOK_S)
    except NotReadyError:
        return None
    told = done.stdout.split(maxsplit=3)
    if done.returncode or len(told) < 3 or not told[1].isdecimal():
        return None
    reason = clean_line(told[3].strip(), 200) if len(told) > 3 else ""
    return JobNow(told[0], int(told[1]), float(told[2]) if told[2].isdecimal() else None, reason)


def address_of(nodes: str) -> str:
    """Return where the first of ``nodes`` is reached, as Slurm reaches it.

    Raises:
        NotReadyError: Slurm does not tell. Never this machine instead: ranks of other nodes would
            wait for one another for ever.
    """
    done = call(["scontrol", "show", "hostnames", nodes])
    first = done.stdout.split("\n")[0].strip()
    told = call(["scontrol", "--oneliner", "show", "node", first]) if first else done
    found = re.search(r"\bNodeAddr=(\S+)", told.stdout)
    if not first or told.returncode or found is None:
        raise NotReadyError(
            "the first node of the job is not known",
            cause=words_of(told),
            remedy="resume the run; if it happens again, tell your administrator",
        )
    return found.group(1)
