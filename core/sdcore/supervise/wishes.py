"""How a client wishes the end of a run, wherever it is: also of one that waits in a queue.

Apart from ``submitting``, which needs the whole specification of a task.
"""

import os
from typing import Any

from sdcore.cluster import calls
from sdcore.errors import ExitCode
from sdcore.runs import locks, requests
from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status, read_status
from sdcore.supervise.ends import write_end
from sdcore.supervise.evidence import newest_checkpoint
from sdcore.supervise.outcome import Outcome

_LOCK_S = 5.0  # a supervisor whose job goes back to the queue still writes that down


def ask_end(run: RunDir, kind: requests.Kind, by: str, **details: Any) -> bool:
    """Leave a wish to end ``run``; a job that still waits is cancelled, for nobody reads there.

    Args:
        run: The run.
        kind: ``stop``, ``term`` or ``kill``.
        by: Who wishes it, for the record.
        details: Of the wish.

    Returns:
        Whether the wish is new, as of ``requests.ask``.

    Raises:
        NotReadyError: Slurm does not answer; the wish is left for the job to read.
    """
    new = requests.ask(run, kind, by=by, **details)
    if run.cluster.exists():
        status = read_status(run)
        if status.state == "queued" and status.job is not None:
            _cancel(run, status, status.job, by)
    return new


def _cancel(run: RunDir, status: Status, job: str, by: str) -> None:
    # Only while it waits: a job that began meanwhile reads the wish itself.
    began = (read_fields(run.allocation) or Fields(None)).whole("restarts")
    if not calls.cancel_waiting(job, began):
        return
    lock = locks.take(run.lock, patience=_LOCK_S)
    if lock is None:
        return  # it had begun after all
    try:
        if not run.exit.exists():
            write_end(run, _cancelled(run, by), status.attempt)
            for kind in ("stop", "term", "kill"):
                requests.done(run, kind)
    finally:
        os.close(lock)


def _cancelled(run: RunDir, by: str) -> Outcome:
    saved = newest_checkpoint(run, ())
    reason = f"stopped by {by} while its job waited in the queue"
    remedy = f"`sdtui resume {run.id}` submits it again"
    code = ExitCode.INTERRUPTED if by == "SIGINT" else ExitCode.TERMINATED
    return Outcome(
        "stopped", code if saved is None else ExitCode.STOPPED, "stopped", reason, remedy
    )
