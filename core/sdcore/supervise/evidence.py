"""Gathers what a run left behind when its last process was gone; judges nothing."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdcore.launch.plan import LaunchPlan
from sdcore.masking import is_secret
from sdcore.runs.files import last_records, read_json
from sdcore.runs.logs import LauncherEnds, Mask
from sdcore.runs.paths import RunDir, step_folders
from sdcore.supervise.ladder import Rung
from sdcore.text import clean, last_overwrite

_LOG_WINDOW, _LOG_LINES = 1 << 16, 50


@dataclass(frozen=True, slots=True)
class Stop:
    """The end that somebody wished.

    Attributes:
        by: Who, for example ``sdtui stop`` or ``SIGINT``.
        rung: How far the ladder had to be climbed.
    """

    by: str
    rung: Rung


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything from which the cause of an end is told.

    Attributes:
        status: The launcher's wait status; None when it never started or nobody saw its end.
        ranks: What the training processes of this attempt said of themselves, by rank.
        stop: Set when somebody wished the end.
        guard_lost: The guard was killed, and the run with it.
        we_killed: We sent SIGKILL, so a signal 9 explains itself.
        oom_kills: How many processes of this host the kernel killed for memory meanwhile.
        metrics: The last line of metrics.jsonl.
        log_lines: The last lines of train.log, cleaned, without known secrets.
        foreign: A start command of the user's, whose 126 and 127 mean "could not be executed".
        runtime: What surrounded the command, see ``LaunchPlan``.
        seconds: From the start to the end.
        queued: It waited for GPUs until its end.
        checkpoint: Newest whole checkpoint, relative to the run directory where it lies inside.
        pipeline: The final pipeline, likewise.
        run_id: For commands that a person copies.
        node: Of several, the one whose start command failed first.
    """

    status: int | None = None
    ranks: tuple[dict[str, Any], ...] = ()
    stop: Stop | None = None
    guard_lost: bool = False
    we_killed: bool = False
    oom_kills: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)
    log_lines: tuple[str, ...] = ()
    foreign: bool = False
    runtime: str = "host"
    seconds: float = 0.0
    queued: bool = False
    checkpoint: str | None = None
    pipeline: str | None = None
    run_id: str = "last"
    node: str | None = None


def read_ranks(run: RunDir, attempt: int) -> tuple[dict[str, Any], ...]:
    """Return the rank files of ``attempt``; those of an earlier one say nothing about this."""
    paths = sorted(run.rank(0).parent.glob("rank-*.json"))
    found = [record for path in paths if (record := read_json(path)) is not None]
    return tuple(record for record in found if record.get("attempt") == attempt)


def log_tail(run: RunDir, plan: LaunchPlan) -> tuple[str, ...]:
    """Return the last lines of the log, safe to show: no escapes, no known secrets."""
    return tail_of(run.log, plan)


def tail_of(log: Path, plan: LaunchPlan) -> tuple[str, ...]:
    """Return the last lines of one of the logs of a run; see ``log_tail``."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_WINDOW))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    mask = mask_of(plan)
    lines = [clean(last_overwrite(line), 2000) for line in text.rstrip().split("\n")]
    return tuple(mask(line) for line in lines[-_LOG_LINES:])


def without_launcher(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``lines`` without accelerate's own tracebacks, unless nothing else was said.

    At a dozen lines one pushes the trainer's own words out of sight.
    """
    ends = LauncherEnds[str]()
    return (*ends.pass_on(lines), *ends.rest()) or lines


def mask_of(plan: LaunchPlan) -> Mask:
    """Return what takes the secrets of the child's environment out of clean text."""
    env = {**os.environ, **plan.env}
    return Mask(value for name, value in env.items() if is_secret(name))


def newest_checkpoint(run: RunDir, ranks: Iterable[dict[str, Any]]) -> str | None:
    """Return the newest checkpoint that was finished: one without a manifest does not exist."""
    try:
        whole = [f for f in step_folders(run.checkpoints) if (f / "manifest.json").is_file()]
    except OSError:  # a start command took its rights away: that must not cost the exit record
        whole = []
    if whole:
        return relative(run, whole[-1])
    named = (rank.get("checkpoint") for rank in ranks)
    return next((path for path in named if isinstance(path, str)), None)


def final_pipeline(run: RunDir) -> str | None:
    """Return where the trained pipeline lies, or None when it was not written."""
    try:
        whole = run.finished
    except OSError:
        return None
    return relative(run, run.pipeline) if whole else None


def relative(run: RunDir, path: Path) -> str:
    """Return ``path`` as the run's records write it."""
    return str(path.relative_to(run.root)) if path.is_relative_to(run.root) else str(path)


def last_metrics(run: RunDir) -> dict[str, Any]:
    """Return the last whole line of metrics.jsonl, or nothing."""
    lines = last_records(run.metrics)
    return lines[-1] if lines else {}


def number(value: object) -> float | None:
    """Return a finite number, or None: JSON has no not-a-number."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return value if real and math.isfinite(value) else None  # type: ignore[arg-type, return-value]
