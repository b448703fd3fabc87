"""What a cluster's job says of a run: the cluster form of "alive = lock held".

A lock on a shared file system may not reach other nodes. So a lock that is held proves life, and
one that is free proves nothing: then Slurm is asked about the job. Where Slurm is away, the last
known state stands, said to be that; a run is never called over because nobody answered.
"""

import os
import re
import time
from contextlib import suppress
from typing import Literal, NamedTuple

from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.files import write_json
from sdcore.runs.logs import last_lines
from sdcore.runs.paths import FORMAT, RunDir
from sdcore.runs.squeue import WAITS, WATCH, Answer, Job, ask

# A shared file system shows a new exit.json late; so long after the job's end it is waited for.
SETTLE_S = 5.0
LAST_KNOWN = "this is the last known state"
_SUBMITTING_S = 60.0
_RUNS = {"RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT", "COMPLETING"}
_REASONS = {
    "Resources": "enough free nodes",
    "Priority": "jobs of a higher priority",
    "Dependency": "another job that it depends on",
    "BeginTime": "the time at which it may begin",
    "JobHeldUser": "its release: it is held (scontrol release)",
    "job requeued in held state": "its release: it was requeued and is held (scontrol release)",
    "JobHeldAdmin": "its release: an administrator holds it",
    "ReqNodeNotAvail": "nodes that are down or reserved",
    "PartitionDown": "its partition, which is down",
    "PartitionTimeLimit": "a shorter time limit: the partition allows less",
    "PartitionNodeLimit": "fewer nodes: the partition allows less",
    "QOSMaxJobsPerUserLimit": "other jobs of this user: the quality of service allows no more",
    "AssocGrpGRES": "other jobs of this account: it has used its share of GPUs",
    "QOSMaxGRESPerUser": "other jobs of this user: the quality of service allows no more GPUs",
}
STILL_ENDING = "Slurm, which still takes its job off its nodes"
_PERHAPS = "perhaps its node does not share this folder, or Python"
_TOLD = 10  # lines of the job's own output
_ENDS = {
    "CANCELLED": "its job was cancelled",
    "TIMEOUT": "its job reached its time limit before a save was done",
    "NODE_FAIL": "a node of its job failed",
    "BOOT_FAIL": "a node of its job could not be started",
    "PREEMPTED": "its job was taken off its nodes for another",
    "OUT_OF_MEMORY": "its job used more memory than it had asked for",
    "DEADLINE": "its job could not have ended by its deadline",
    "REVOKED": "its job was revoked",
}

_NOTICE = re.compile(r"\*\*\* (JOB|STEP) \S+ ON \S+ CANCELLED AT ")

Verdict = Literal["queued", "runs", "ending", "unknown", "gone"]


class JobView(NamedTuple):
    """What is known of the job of a run.

    Attributes:
        verdict: ``queued``; ``runs``; ``ending``: over, its record is awaited; ``unknown``:
            nobody answers; ``gone``: over, and it left no record.
        job: Its number; None before it is known.
        why: What it waits for, why it is not known, or how it ended.
        nodes: In Slurm's short form.
        slurm: Slurm's own word for its end.
        said: The end of the job's own output, where that tells why it could not begin.
    """

    verdict: Verdict
    job: str | None
    why: str | None = None
    nodes: str | None = None
    slurm: str | None = None
    said: tuple[str, ...] = ()


def look(run: RunDir) -> JobView | None:
    """Return what is known of the job of ``run``; None for a run of this machine.

    To be asked after ``exit.json`` was not found and the lock was found free.
    """
    record = read_fields(run.cluster)
    if record is None:
        return None
    job = record.text("job") or (read_fields(run.allocation) or Fields(None)).text("job")
    if job is None:
        return _unrecorded(run, record)
    kept = read_fields(run.job_end(job))
    if kept is not None:
        state, reason = kept.text("state") or "", kept.text("reason") or ""
        return _gone(run, job, state, reason, kept.text("nodes"))
    found = WATCH.look(job)
    if isinstance(found, Answer):
        return JobView("unknown", job, found.trouble)
    if found is None:
        if record.text("host") == os.uname().nodename:  # elsewhere another Slurm may be asked
            forget_order(run)
        return JobView("gone", job, f"Slurm no longer knows its job {job}, and nobody saw its end")
    return _judge(run, found)


def _judge(run: RunDir, job: Job) -> JobView:
    if job.state in WAITS:
        return JobView("queued", job.id, waiting_words(job), job.nodes or None)
    if job.state in _RUNS:
        return JobView("runs", job.id, _running_words(job), job.nodes or None, job.state)
    if job.end is not None and time.time() - job.end < SETTLE_S:
        return JobView("ending", job.id, "its job has ended", job.nodes or None, job.state)
    with suppress(OSError):  # Slurm forgets a job in minutes; a full disk only costs the reason
        record = {"format": FORMAT, "job": job.id, "state": job.state, "reason": job.reason}
        write_json(run.job_end(job.id), {**record, "nodes": job.nodes, "end": job.end})
    forget_order(run)
    return _gone(run, job.id, job.state, job.reason, job.nodes or None)


def forget_order(run: RunDir) -> None:
    """Remove what the client left for the job, with its secrets: the run is over."""
    for path in (run.order, run.environment):
        with suppress(OSError):
            path.unlink()


def _gone(run: RunDir, job: str, state: str, reason: str, nodes: str | None) -> JobView:
    words = _ENDS.get(state, f"its job ended ({state.lower() or 'unknown'})")
    told = f": {reason}" if reason and reason not in {"None", state} else ""
    said: tuple[str, ...] = ()
    if state in {"COMPLETED", "FAILED"} and run.allocation.exists():
        words = "its supervisor ended without a record"
    elif state in {"COMPLETED", "FAILED"}:
        said = said_by(run, job)
        words = f"its job could not begin: {said[-1] if said else _PERHAPS}"
    why = f"{words} (Slurm: job {job} {state}{told})"
    return JobView("gone", job, why, nodes, state, said)


def said_by(run: RunDir, job: str) -> tuple[str, ...]:
    """Return the end of a job's own output, without what Slurm says of the job's own end."""
    lines = last_lines(run.job_log(job), _TOLD)
    return tuple(line for line in lines if not _NOTICE.search(line))


def waiting_words(job: Job) -> str:
    """Say what a job waits for: in words, with Slurm's own in brackets."""
    if job.state == "CONFIGURING":
        return f"its nodes {job.nodes}, which are being prepared"
    words = _REASONS.get(job.reason.partition(",")[0])
    if words is None:
        return f"Slurm ({job.reason})" if job.reason else "Slurm"
    return f"{words} (Slurm: {job.reason})"


def _running_words(job: Job) -> str | None:
    if job.state in {"SUSPENDED", "STOPPED"}:
        return "suspended by Slurm"
    return "Slurm ends its job" if job.state == "COMPLETING" else None


def named(record: Fields, patience: float | None = None) -> Answer | Job | None:
    """Return the job that a run submitted last, by its name, if it waits or runs.

    Args:
        record: ``cluster.json``, in which the number is missing.
        patience: In seconds; left out, that of every look.

    Returns:
        The job; None when there is none; the answer that told nothing.
    """
    options = [f"--name={record.text('name')}"]
    answer = ask(*options) if patience is None else ask(*options, patience=patience)
    if answer.jobs is None:
        return answer
    # A resume has the name of the job before it, which Slurm may still be ending.
    found = (job for job in answer.jobs.values() if job.id != record.text("previous"))
    return next((job for job in found if job.state in WAITS | _RUNS), None)


def is_of_another(run: RunDir, job: str) -> bool:
    """Say whether ``job`` is one that ``run`` had before, and Slurm began again meanwhile.

    On a shared file system the record may be shown late: then it names an older job, not a newer.
    """
    record = read_fields(run.cluster) or Fields(None)
    newest, previous = record.text("job"), record.text("previous")
    if newest is None:  # sbatch has not answered yet
        return job == previous
    numbers = job.isdecimal() and newest.isdecimal()
    return job != newest and numbers and int(job) < int(newest)


def _unrecorded(run: RunDir, record: Fields) -> JobView:
    """The submission was cut between sbatch and the record: the job's name still tells."""
    at = record.moment("submitted") or 0.0
    found = named(record) if record.text("name") is not None else None
    if isinstance(found, Answer):
        return JobView("unknown", None, found.trouble)
    if found is not None:
        verdict: Verdict = "queued" if found.state in WAITS else "runs"
        return JobView(verdict, found.id, waiting_words(found))
    if 0 <= time.time() - at < _SUBMITTING_S:
        return JobView("queued", None, "sbatch: it is being submitted")
    if record.text("host") == os.uname().nodename:
        forget_order(run)
    return JobView("gone", None, "its submission to Slurm was not finished")


def refresh(run: RunDir) -> None:
    """Have a shared file system show what was written on another node: new names above all."""
    with suppress(OSError):
        list(run.root.iterdir())
