"""The supervisor's records: who it is, what phase the run is in, how the run ended."""

import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from sdcore.errors import ExitCode
from sdcore.launch.plan import LaunchPlan
from sdcore.runs.files import LineWriter, write_json
from sdcore.runs.logs import Mask
from sdcore.runs.paths import FORMAT, RunDir, step_of
from sdcore.supervise import procs
from sdcore.supervise.evidence import Evidence, number, without_launcher
from sdcore.supervise.outcome import Outcome, exit_status, signal_name
from sdcore.text import clean_line

Phase = Literal["queued", "starting", "running", "stopping"]

# Between two attempts to write exit.json, in seconds, when the disk is full.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 30.0


def say(text: str) -> None:
    """Write a line to supervisor.log, which is normally empty."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)  # noqa: T201


class Trouble:
    """Reports a failing write once, until it works again: a full disk lasts, a log should not."""

    def __init__(self, what: str) -> None:
        self._what, self._told = what, False

    def attempt(self, write: Callable[[], None]) -> bool:
        """Call ``write``; say whether it worked."""
        try:
            write()
        except OSError as error:
            if not self._told:
                self._told = True
                try:
                    say(f"cannot write {self._what}: {error.strerror or error}; trying again")
                except OSError:
                    self._told = False  # the log is on the same disk: say it later
            return False
        self._told = False
        return True


class StateRecord:
    """``state.json``: replaced at every change, and again later when that failed."""

    def __init__(self, run: RunDir, attempt: int) -> None:
        self._path, self._trouble = run.state, Trouble("state.json")
        self._record: dict[str, Any] = {"format": FORMAT, "phase": None, "attempt": attempt}
        self._dirty = False

    @property
    def phase(self) -> Phase | None:
        """What was entered last; None before the first."""
        phase: Phase | None = self._record["phase"]
        return phase

    def enter(self, phase: Phase, reason: str | None = None, **details: Any) -> None:
        """Change phase or details; ``since`` tells when the phase began, in Unix seconds."""
        # Names of foreign programs are in these words: no escape of theirs reaches a terminal.
        reason = reason and clean_line(reason)
        since = self._record["since"] if phase == self._record["phase"] else time.time()
        base = {key: self._record[key] for key in ("format", "attempt")}
        kept = {"gpus": self._record.get("gpus", []), "waiting_for": None}
        record = base | {"phase": phase, "since": since, "reason": reason} | kept | details
        if record["waiting_for"]:
            record["waiting_for"] = clean_line(record["waiting_for"])
        if record != self._record:
            self._record, self._dirty = record, True
        self.flush()

    def flush(self) -> None:
        """Write what is not yet on disk."""
        if self._dirty:
            self._dirty = not self._trouble.attempt(lambda: write_json(self._path, self._record))


class LineFile:
    """A stream of JSON lines that outlasts a full disk; lines that do not fit are lost."""

    def __init__(self, path: Path) -> None:
        self._path, self._trouble = path, Trouble(path.name)
        self._writer: LineWriter | None = None

    def write(self, record: dict[str, Any]) -> None:
        """Append one line."""
        if not self._trouble.attempt(lambda: self._append(record)) and self._writer is not None:
            self._writer.close()  # the next one, newly opened, closes the line that was cut
            self._writer = None

    def _append(self, record: dict[str, Any]) -> None:
        if self._writer is None:
            self._writer = LineWriter(self._path)
        self._writer.write(record)


def identity(started: float, child_pid: int | None, child_ticks: int | None) -> dict[str, Any]:
    """Return ``supervisor.json``: enough to tell this process from a later one of the same pid."""
    return {
        "format": FORMAT,
        "pid": os.getpid(),
        "start_ticks": procs.start_ticks(os.getpid()),
        "boot_id": procs.boot_id(),
        "host": os.uname().nodename,
        "started": started,
        "child_pid": child_pid,
        "child_start_ticks": child_ticks,
    }


def exit_record(
    plan: LaunchPlan, evidence: Evidence, outcome: Outcome, mask: Mask, **measured: Any
) -> dict[str, Any]:
    """Return ``exit.json``.

    Args:
        plan: Of this attempt.
        evidence: What the outcome was decided from.
        outcome: How it ended.
        mask: Keeps secrets out of what the trainer said.
        measured: ``started``, ``gpus``, ``peak_gpu_memory``, ``peak_rss``.
    """
    code, signalled = exit_status(evidence.status)
    last = evidence.metrics
    if last.get("attempt", plan.attempt) != plan.attempt:
        # An earlier attempt got that far; this one stands where its checkpoint is.
        step = step_of(Path(evidence.checkpoint)) if evidence.checkpoint else None
        last = {"step": step, "loss": last.get("loss") if last.get("step") == step else None}
    # What never started printed nothing: the log ends with the words of an earlier attempt.
    printed = outcome.cause != "launch" or code is not None or signalled is not None
    return {
        "format": FORMAT,
        "state": outcome.state,
        "exit_code": int(outcome.exit_code),
        "code": code,
        "signal": signalled,
        "signal_name": signalled and signal_name(signalled),
        "cause": outcome.cause,
        # Words of the trainer and of whoever wished the end: shown on terminals.
        "reason": mask(clean_line(outcome.reason)),
        "remedy": outcome.remedy and mask(clean_line(outcome.remedy)),
        "attempt": plan.attempt,
        "ended": time.time(),
        "last_step": number(last.get("step")),
        "total_steps": plan.total_steps or _total(evidence),
        "last_loss": _loss(last.get("loss")),
        "images_per_s": number(last.get("images_per_s")),
        "it_per_s": number(last.get("it_per_s")),
        "metrics_source": last.get("source"),
        "checkpoint": evidence.checkpoint,
        "pipeline": evidence.pipeline if outcome.exit_code == ExitCode.DONE else None,
        **measured,
        "last_lines": list(without_launcher(evidence.log_lines)) if printed else [],
    }


def _total(evidence: Evidence) -> float | None:
    """Return the length of a run that the plan did not know: a start command's."""
    told = [number(rank.get("total")) for rank in evidence.ranks]
    return next((total for total in told if total), number(evidence.metrics.get("total")))


def _loss(value: object) -> float | str | None:
    """Return a loss; one that is not finite as the word that readers take for it."""
    finite = number(value)
    if finite is None and isinstance(value, float):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return finite


def write_exit(
    run: RunDir, record: dict[str, Any], pause: Callable[[float], bool], failed: Callable[[], None]
) -> bool:
    """Write ``exit.json``, for as long as it takes: without it the run's end is never known.

    Args:
        run: Whose.
        record: The content.
        pause: Waits the seconds it is given; True means give up, the host is going down.
        failed: Called when the first attempt failed.

    Returns:
        Whether it is written.
    """
    trouble, wait = Trouble("exit.json"), _FIRST_PAUSE_S
    while not trouble.attempt(lambda: write_json(run.exit, record)):
        if not run.root.exists():  # removed by hand while it lived: nobody waits for its end
            return False
        failed()
        if pause(wait):
            return False
        wait = min(2 * wait, _LONGEST_PAUSE_S)
    return True
