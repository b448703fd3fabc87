"""What state a run is in: the only place that decides what the files of a run mean.

The rules, in order. ``exit.json`` is there: the run is over, and it says how. Else somebody holds
the lock: the run lives, and ``state.json`` says in which phase. Else the run is interrupted: the
machine was restarted, or the supervisor was killed. Nothing is ``running`` without a held lock,
whatever ``state.json`` says; of a run on a cluster, whose lock may not reach this machine, the
scheduler is asked instead (``jobs``). Standard library only: ``sdtui ls`` reads a thousand runs
with it.
"""

import os
import socket
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sdcore.errors import ExitCode
from sdcore.runs import jobs, locks
from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.files import last_records
from sdcore.runs.paths import FORMAT, RunDir, step_of
from sdcore.runs.signs import last_sign, newest_checkpoints, silent_since, total_steps
from sdcore.runs.spans import age, boot_id, eta, span

State = Literal[
    "queued", "starting", "running", "stopping", "done", "failed", "stopped", "interrupted"
]
LIVE: tuple[State, ...] = ("queued", "starting", "running", "stopping")
OVER: tuple[State, ...] = ("done", "failed", "stopped", "interrupted")
_CODES: dict[str, ExitCode] = {
    "done": ExitCode.DONE,
    "failed": ExitCode.FAILED,
    "stopped": ExitCode.TERMINATED,
    "interrupted": ExitCode.LOST,
}
_NEWER = "written by a newer sdtui; update sdtui to read it in full"
_LOCK_UNREADABLE = "its lock cannot be read, so how it is doing is not known"
_QUIET_S, _QUIET_STEPS = 60.0, 20  # without a step for both, steps have stopped coming


class Status(NamedTuple):
    """All that is known of one run at one moment. Text is clean, so it may go to a screen.

    Attributes:
        state: One of eight; ``LIVE`` and ``OVER`` split them.
        reason: Why it is in this state, in one line.
        remedy: What a person can do about it.
        silent_since: Of a running one: when it was last heard of, if over ``SILENT_S`` ago.
        since: When the state began, in seconds since the epoch.
        attempt: 1 for the first start, one more for each resume.
        step: Optimizer steps completed.
        total: Optimizer steps of the whole run, when known.
        loss: Of the last step; may be NaN.
        it_per_s: Of a start command: the rate of its progress bar, whatever an iteration is.
        metrics_source: Of a start command: log or tensorboard, where its steps are read.
        eta_s: Seconds to the last step at the pace of the last 50 steps.
        phase: What the trainer says it does: loading, caching, training, …
        phase_done: Of ``phase_total``, in ``phase_unit``, where the phase is counted; it goes on
            at ``phase_per_s``.
        stop_step: While stopping, the rung of the ladder: save, term or kill.
        deadline: While stopping, when the next rung comes, in seconds since the epoch.
        waiting_for: While queued, what is missing.
        started: Of this attempt.
        elapsed: Seconds of this attempt, never negative.
        exit_code: What ``sdtui wait`` returns; None while the run lives.
        cause: The kind of end, as in ``exit.json``.
        code: The child's own exit code.
        checkpoint: The newest good checkpoint.
        pipeline: The final pipeline.
        job: Number of the cluster's job, on a cluster.
        nodes: Its nodes, in the scheduler's short form.
    """

    id: str
    name: str
    state: State
    reason: str | None = None
    remedy: str | None = None
    since: float | None = None
    silent_since: float | None = None
    attempt: int = 1
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    images_per_s: float | None = None
    it_per_s: float | None = None
    metrics_source: str | None = None
    eta_s: float | None = None
    epoch: float | None = None
    phase: str | None = None
    phase_done: int | None = None
    phase_total: int | None = None
    phase_unit: str | None = None
    phase_per_s: float | None = None
    stop_step: str | None = None
    deadline: float | None = None
    waiting_for: str | None = None
    gpus: tuple[str, ...] = ()
    started: float | None = None
    ended: float | None = None
    elapsed: float | None = None
    exit_code: int | None = None
    cause: str | None = None
    code: int | None = None
    signal_name: str | None = None
    checkpoint: Path | None = None
    pipeline: Path | None = None
    peak_gpu_memory: int | None = None
    peak_rss: int | None = None
    last_lines: tuple[str, ...] = ()
    job: str | None = None
    nodes: str | None = None

    @property
    def over(self) -> bool:
        """Say whether nothing of the run goes on."""
        return self.state in OVER

    def to_record(self) -> dict[str, Any]:
        """Return plain data for JSON; paths are absolute strings."""
        record = self._asdict()
        return {key: str(v) if isinstance(v, Path) else v for key, v in record.items()}


def read_status(run: RunDir, now: float | None = None) -> Status:
    """Read the state of ``run``; correct however its files change meanwhile.

    Args:
        run: The run; its folder may vanish while it is read.
        now: Seconds since the epoch; left out, the clock.
    """
    status = _read(run, time.time() if now is None else now)
    allocation = read_fields(run.allocation) if run.cluster_folder.exists() else None
    if allocation is None:
        return status
    # A job that waits again has none; of one that ends Slurm names fewer and fewer.
    nodes = status.nodes if status.state == "queued" else allocation.text("nodes") or status.nodes
    return status._replace(job=status.job or allocation.text("job"), nodes=nodes)


def _read(run: RunDir, now: float) -> Status:
    ended = read_fields(run.exit)
    if ended is not None:
        return _finished(run, ended)
    try:
        held = locks.is_held(run.lock)
    except OSError:
        held = None
    if held:
        return _leaving(run, now) or _living(run, now)
    job = jobs.look(run)
    if job is not None:
        return _of_job(run, job, now)
    if held is None:
        return _lost(run)._replace(reason=_LOCK_UNREADABLE, remedy=None)
    # Between the two looks a supervisor may have written exit.json and left.
    ended = read_fields(run.exit)
    return _lost(run) if ended is None else _finished(run, ended)


def _finished(run: RunDir, ended: Fields) -> Status:
    word = ended.text("state")
    state: State = word if word in OVER else "interrupted"
    reason = ended.text("reason")
    if word not in OVER:
        reason = "exit.json is damaged; how the run ended is not known"
        if not os.access(run.root, os.R_OK | os.X_OK):  # another user's, or its rights were changed
            reason = "its folder cannot be read, so how it is doing is not known"
    if (ended.whole("format") or FORMAT) > FORMAT:
        reason = _NEWER
    started, finish = ended.moment("started"), ended.moment("ended")
    code = ended.whole("exit_code")
    return Status(
        id=run.id,
        name=run.name,
        state=state,
        reason=reason,
        remedy=ended.block("remedy"),
        since=finish,
        attempt=ended.whole("attempt") or 1,
        step=ended.whole("last_step"),
        total=ended.whole("total_steps"),
        loss=ended.number("last_loss"),
        images_per_s=ended.number("images_per_s"),
        it_per_s=ended.number("it_per_s"),
        metrics_source=ended.text("metrics_source"),
        gpus=ended.texts("gpus"),
        started=started,
        ended=finish,
        elapsed=span(started, finish),
        exit_code=code if code is not None and 0 <= code <= 255 else int(_CODES[state]),
        cause=ended.text("cause"),
        code=ended.whole("code"),
        signal_name=ended.text("signal_name"),
        checkpoint=run.inside(ended.raw("checkpoint")),
        pipeline=run.inside(ended.raw("pipeline")),
        peak_gpu_memory=ended.whole("peak_gpu_memory"),
        peak_rss=ended.whole("peak_rss"),
        last_lines=ended.texts("last_lines"),
    )


def _living(run: RunDir, now: float) -> Status:
    state = read_fields(run.state) or Fields(None)
    supervisor = read_fields(run.supervisor) or Fields(None)
    word, attempt = state.text("phase"), state.whole("attempt") or 1
    phase: State = word if word in LIVE else "starting"
    reason = state.text("reason")
    if (state.whole("format") or FORMAT) > FORMAT:
        reason = _NEWER
    # A resume has taken the lock, and state.json is still the one of the attempt before.
    stale = bool(state) and run.earlier_exit(attempt).exists()
    if stale:
        state, phase, attempt, reason = Fields(None), "starting", attempt + 1, None
    started = None if stale else supervisor.moment("started")
    status = Status(
        id=run.id,
        name=run.name,
        state=phase,
        reason=reason,
        since=state.moment("since"),
        silent_since=silent_since(run, now) if phase == "running" else None,
        attempt=attempt,
        stop_step=state.text("step") if phase == "stopping" else None,
        deadline=state.moment("deadline") if phase == "stopping" else None,
        waiting_for=state.text("waiting_for") if phase == "queued" else None,
        gpus=state.texts("gpus"),
        started=started,
        elapsed=age(supervisor, now) if started is not None else None,
    )
    return _with_progress(run, _with_phase(run, status), now)


def _of_job(run: RunDir, job: jobs.JobView, now: float) -> Status:
    """Judge a run by its job: nobody on this machine holds its lock."""
    jobs.refresh(run)
    ended = read_fields(run.exit)
    if ended is not None:
        return _finished(run, ended)
    again = _between(run)
    if job.verdict == "gone":
        if again is not None and job.slurm in {"COMPLETED", "FAILED"}:
            known = again.text("job")
            if known is not None and known == job.job:
                return _not_again(run, again, known)._replace(nodes=job.nodes)
        code = ExitCode.OUT_OF_MEMORY if job.slurm == "OUT_OF_MEMORY" else ExitCode.LOST
        lost = _lost(run)._replace(reason=job.why, exit_code=int(code))
        if job.said and job.job is not None:
            remedy = f"read {run.job_log(job.job)}, then run: sdtui resume {run.id}"
            lost = lost._replace(last_lines=job.said, remedy=remedy)
        return lost._replace(job=job.job, nodes=job.nodes)
    seen = _living(run, now)._replace(job=job.job, nodes=job.nodes)
    leaves = again is not None and job.slurm == "COMPLETING"
    silent = job.verdict == "unknown" and (again is not None or not run.state.exists())
    if job.verdict == "queued" or leaves or silent:
        what = f"news of its job: {job.why}" if silent else jobs.STILL_ENDING if leaves else job.why
        waits = _waiting(seen, what)
        return waits._replace(reason=jobs.LAST_KNOWN) if silent else waits
    if job.verdict == "unknown":
        return seen._replace(reason=f"{jobs.LAST_KNOWN}: {job.why}", eta_s=None)
    if job.verdict == "ending" or job.slurm == "COMPLETING":
        return seen._replace(state="stopping", reason=job.why)
    return seen._replace(reason=job.why or seen.reason)


def _not_again(run: RunDir, ended: Fields, job: str) -> Status:
    """Tell of a job that went back to the queue, and failed before a supervisor could begin."""
    said = jobs.said_by(run, job)
    reason = f"{ended.text('reason')}; its job did not begin again"
    reason += f": {said[-1]}" if said else ""
    known = _finished(run, ended)
    return known._replace(reason=reason, job=job, last_lines=said or known.last_lines)


def _waiting(seen: Status, what: str | None) -> Status:
    waits = seen._replace(state="queued", waiting_for=what, reason=None, gpus=(), phase=None)
    return waits._replace(started=None, elapsed=None, eta_s=None, silent_since=None)


def _leaving(run: RunDir, now: float) -> Status | None:
    """Tell of a job's attempt that is over while its supervisor sees to what comes next."""
    began = read_fields(run.allocation) if run.cluster_folder.exists() else None
    if began is None or _between(run) is None:
        return None
    state = read_fields(run.state) or Fields(None)
    if began.whole("attempt") != state.whole("attempt"):
        return None
    seen = _living(run, now)
    if state.text("phase") == "queued":
        return _waiting(seen, jobs.STILL_ENDING)
    return seen._replace(state="stopping", attempt=seen.attempt - 1)


def _between(run: RunDir) -> Fields | None:
    """Return how the last attempt ended, where ``state.json`` is still its own."""
    state = read_fields(run.state)
    return read_fields(run.earlier_exit(state.whole("attempt") or 1)) if state else None


def _lost(run: RunDir) -> Status:
    supervisor = read_fields(run.supervisor)
    state = read_fields(run.state) or Fields(None)
    started = supervisor.moment("started") if supervisor else None
    attempt = state.whole("attempt") or 1
    lost = Status(
        id=run.id,
        name=run.name,
        state="interrupted",
        reason=_why_lost(supervisor) if run.root.exists() else "its folder was removed",
        remedy=f"run: sdtui resume {run.id}",
        attempt=attempt + 1 if state and run.earlier_exit(attempt).exists() else attempt,
        gpus=state.texts("gpus"),
        started=started,
        exit_code=int(ExitCode.LOST),
        cause="lost",
        pipeline=run.pipeline if run.finished else None,
    )
    seen = _with_progress(run, lost)
    # The last sign of life stands in for the end, which nobody saw.
    end = last_sign(run)
    return seen._replace(
        since=end, ended=end, elapsed=span(started, end), eta_s=None,
        images_per_s=None, it_per_s=None,
    )  # fmt: skip


def _why_lost(supervisor: Fields | None) -> str:
    if not supervisor:
        return "the launch did not finish"
    host = supervisor.text("host")
    if host and host != socket.gethostname():
        return f"supervisor lost: it ran on {host}, and nobody holds the run's lock"
    boot = supervisor.text("boot_id")
    if boot and boot != boot_id():
        return "reboot: the machine was restarted during the run"
    return "supervisor lost: it was killed before it could record an end"


def _with_phase(run: RunDir, status: Status) -> Status:
    """Add what the trainer said last that it does; only this attempt's words count."""
    for record in reversed(last_records(run.events, want=200)):
        event = Fields(record)
        if event.text("kind") == "phase" and event.whole("attempt") == status.attempt:
            return status._replace(
                phase=event.text("phase"),
                phase_done=event.whole("done"),
                phase_total=event.whole("total"),
                phase_unit=event.text("unit"),
                phase_per_s=event.number("per_s"),
            )
    return status


def _with_progress(run: RunDir, status: Status, now: float | None = None) -> Status:
    """Add step, loss, pace and checkpoint, from the end of the metrics and from rank 0."""
    lines = [Fields(record) for record in last_records(run.metrics, want=50)]
    mine = [line for line in lines if line.whole("attempt") == status.attempt]
    last = (mine or [Fields(None)])[-1]
    rank = read_fields(run.rank(0)) or Fields(None)
    total = last.whole("total") or total_steps(run, rank)
    checkpoint = run.inside(rank.raw("checkpoint")) or next(newest_checkpoints(run), None)
    step = last.whole("step")
    if step is None and rank.whole("attempt") in {None, status.attempt}:
        step = rank.whole("step")
    # Not the last one made: a resume goes on from here. While it loads, its rank says 0.
    if (step is None or (step == 0 and status.attempt > 1)) and checkpoint is not None:
        step = step_of(checkpoint)
    seen = status._replace(
        step=step,
        total=total,
        loss=last.number("loss"),
        epoch=last.moment("epoch"),
        images_per_s=last.moment("images_per_s") if mine else None,
        it_per_s=last.moment("it_per_s"),
        metrics_source=last.text("source"),
        eta_s=eta(mine, total),
        checkpoint=checkpoint,
    )
    return seen if now is None else _if_quiet(seen, mine, now)


def _if_quiet(status: Status, lines: list[Fields], now: float) -> Status:
    """Say so when a training run takes no steps: its pace and time left are those of before."""
    times = [at for line in lines if (at := line.moment("at")) is not None]
    trains = status.state == "running" and status.phase in {None, "training"}
    if not trains or len(times) < 2 or status.step == status.total:
        return status
    pace, quiet = (times[-1] - times[0]) / (len(times) - 1), now - times[-1]
    if quiet < max(_QUIET_S, _QUIET_STEPS * pace):
        return status
    words = None if status.silent_since else f"no step for {quiet / 60:.0f} min"
    reason = status.reason or words
    return status._replace(eta_s=None, images_per_s=None, it_per_s=None, reason=reason)
