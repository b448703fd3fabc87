"""Ends of attempts that no supervisor wrote down: put away, or told by whoever saw them."""

import time
from pathlib import Path

from sdcore.errors import ExitCode
from sdcore.runs.files import write_json
from sdcore.runs.jobs import forget_order
from sdcore.runs.paths import FORMAT, RunDir, step_of
from sdcore.supervise.evidence import newest_checkpoint
from sdcore.supervise.outcome import Outcome


def put_away(run: RunDir, attempt: int, reason: str) -> None:
    """Keep how ``attempt`` ended; of one that nobody saw end, keep that.

    Readers tell by this file that ``state.json`` is still the one of the attempt before.
    """
    kept = run.earlier_exit(attempt)
    if run.exit.exists():
        run.exit.rename(kept)
    elif not kept.exists():
        end = {"state": "interrupted", "exit_code": int(ExitCode.LOST), "cause": "lost"}
        write_json(kept, {"format": FORMAT, **end, "reason": reason, "attempt": attempt})


def write_end(run: RunDir, outcome: Outcome, attempt: int) -> None:
    """Write ``exit.json`` of an attempt that had no supervisor, or none that could begin.

    On a cluster nothing of its job goes on then, so what was left for it is removed.
    """
    checkpoint = newest_checkpoint(run, ())
    record = {
        "format": FORMAT, "state": outcome.state, "exit_code": int(outcome.exit_code),
        "cause": outcome.cause, "reason": outcome.reason, "remedy": outcome.remedy,
        "attempt": attempt, "ended": time.time(), "checkpoint": checkpoint,
        "last_step": step_of(Path(checkpoint)) if checkpoint else None,
    }  # fmt: skip
    write_json(run.exit, record)
    forget_order(run)
