"""Makes a run directory and starts, or starts again, the supervisor of a run."""

import fcntl
import os
import platform
import secrets
import shutil
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sdcore.cluster.submission import rehearse
from sdcore.errors import UsageError
from sdcore.launch.plan import LaunchPlan
from sdcore.launch.planner import plan_launch
from sdcore.launch.provenance import git_state, versions
from sdcore.runs import locks
from sdcore.runs.files import PRIVATE, read_json, write_bytes, write_json
from sdcore.runs.paths import (
    FORMAT,
    RunDir,
    make_private,
    new_run_id,
    runs_root,
    step_folders,
)
from sdcore.supervise import procs
from sdcore.supervise.ends import put_away
from sdcore.supervise.start import start_supervisor
from sdcore.supervise.submitting import refuse_job, submit_run
from sdcore.task.presets import load_preset
from sdcore.task.spec import TaskSpec
from sdcore.task.writing import dump_preset
from sdcore.text import clean_line


def freeze(task: TaskSpec) -> TaskSpec:
    """Return ``task`` with a seed, so that what was drawn is written down and can be repeated."""
    if task.command is not None or task.train.seed is not None:
        return task
    train = task.train.model_copy(update={"seed": secrets.randbelow(2**31)})
    # model_copy does not mark the field as given, and only given fields are written.
    train.model_fields_set.add("seed")
    return task.model_copy(update={"train": train})


def start_run(
    task: TaskSpec, *, total_steps: int | None = None, fingerprint: str | None = None
) -> RunDir:
    """Create the run directory of ``task`` and start its supervisor.

    Args:
        task: Checked and, for the built-in trainer, frozen (see ``freeze``).
        total_steps: Optimizer steps of the run, when known.
        fingerprint: Of the data set, for the record.

    Raises:
        NotReadyError: The start command could not be started; the run's record says so too.
        UsageError: The name cannot be used.
    """
    options = rehearse(task) if task.cluster is not None else None
    run, lock = _create(task.name)
    try:
        _make_folders(run)
        write_bytes(run.task, dump_preset(task, resolved=True).encode())
        plan = plan_launch(task, run, total_steps=total_steps)
        write_json(run.launch, _record(task, plan, fingerprint))
        _start(run, task, plan, lock, options)
    finally:
        os.close(lock)
    return run


def load_task(run: RunDir, *, sets: Sequence[str] = (), env: Sequence[str] = ()) -> TaskSpec:
    """Return the frozen task of ``run``, with wishes laid over it.

    Raises:
        UsageError: Its record is gone or damaged, or the wishes do not fit.
    """
    # An empty preset is a valid task, with all its defaults: not the one that ran.
    if run.task.exists() and not run.task.read_bytes().strip():
        raise UsageError(
            f"run {run.id} cannot be resumed",
            cause=f"{run.task} is empty, so what it ran is not known",
            remedy="start it anew from its preset: sdtui --run PRESET",
        )
    return load_preset(run.task, sets=sets, env=env).task


def resume_run(run: RunDir, *, sets: Sequence[str] = (), env: Sequence[str] = ()) -> RunDir:
    """Start ``run`` again from its newest valid checkpoint.

    Args:
        run: A run that is over.
        sets: Changes to the task, for example ``train.max_train_steps=20000``. With
            ``train.resume_from_checkpoint=step-N`` this start goes back to an earlier checkpoint.
        env: Changes to its environment table.

    Raises:
        UsageError: The run is alive or done, or the changes do not fit.
        NotReadyError: The start command could not be started.
    """
    wished = bool(sets or env)
    back_to, sets = _back_to(sets)
    task = load_task(run, sets=sets, env=env)
    if back_to is not None:
        _refuse_unknown(run, task, back_to)
    refuse_job(run)
    options = rehearse(task) if task.cluster is not None else None
    try:
        lock = locks.take(run.lock, patience=2.0)
    except FileNotFoundError as error:
        raise UsageError(
            f"run {run.id} cannot be resumed",
            cause="it was removed meanwhile",
            remedy="sdtui ls lists the runs",
        ) from error
    if lock is None:
        raise UsageError(
            f"run {run.id} cannot be resumed",
            cause="it is still alive",
            remedy=f"follow it with `sdtui attach {run.id}`",
        )
    try:
        if not wished:
            _refuse_finished(run, task)
        _refuse_survivors(run)
        before = read_json(run.launch) or {}
        attempt = _last_attempt(run, before) + 1
        changed = any(wish.startswith(("train.", "mounts")) for wish in sets) or bool(env)
        total = _total_steps(task) if changed else before.get("total_steps")
        # Planned before anything is touched: a task that cannot be planned must not cost the
        # run the record of how it ended.
        plan = plan_launch(task, run, attempt=attempt, total_steps=total, back_to=back_to)
        record = _record(task, plan, before.get("data_fingerprint"))
        put_away(run, attempt - 1, "it was interrupted, and nobody saw its end")
        shutil.rmtree(run.requests, ignore_errors=True)
        _make_folders(run)
        if sets or env:
            write_bytes(run.task, dump_preset(task, resolved=True).encode())
        write_json(run.launch, record)
        _start(run, task, plan, lock, options)
    finally:
        os.close(lock)
    return run


def _back_to(sets: Sequence[str]) -> tuple[str | None, list[str]]:
    """Part the wish for a checkpoint from the others: it is for one start, not for the task."""
    name, rest = "latest", []
    for wish in sets:
        key, _, value = wish.partition("=")
        if key.strip() == "train.resume_from_checkpoint":
            name = value.strip().strip("\"'")
        else:
            rest.append(wish)
    return (None if name == "latest" else name), rest


def _refuse_unknown(run: RunDir, task: TaskSpec, name: str) -> None:
    """A run goes on from what it saved itself; the trainer looks whether that is whole."""
    kept = [folder.name for folder in step_folders(run.checkpoints)]
    if name in kept and task.command is None:
        return
    raise UsageError(
        f"run {run.id} has no checkpoint {clean_line(name, 80)!r}",
        cause=f"it has {', '.join(kept)}" if kept else "it has none",
        remedy="name one of its own; from that of another run, start a new one: sdtui --run PRESET "
        "--set train.resume_from_checkpoint=PATH",
    )


def _refuse_finished(run: RunDir, task: TaskSpec) -> None:
    """A start command would run from its beginning again, into the folder of its result."""
    if (read_json(run.exit) or {}).get("state") != "done":
        return
    raise UsageError(
        f"run {run.id} has nothing left to do",
        cause="it is done",
        remedy="to train longer, add --set train.max_train_steps=N"
        if task.command is None
        else f"to run its command again, start a new run: sdtui --run {run.task}",
    )


def _refuse_survivors(run: RunDir) -> None:
    """Two trainings in one folder would write the same checkpoints."""
    ours = {os.getpid(), os.getppid()}
    left = [each for each in procs.started_by(run.root) if each.pid not in ours]
    if left:
        raise UsageError(
            f"run {run.id} cannot be resumed",
            cause=f"process {left[0].pid} ({clean_line(left[0].name)}) of it is still alive, "
            "although its supervisor was killed",
            remedy=f"end it: kill {' '.join(str(each.pid) for each in left[:20])}",
        )


def _last_attempt(run: RunDir, launch: dict[str, Any]) -> int:
    """Return the number of the newest attempt, by whichever record of it can still be read.

    Too low a number would take an earlier attempt's place and make readers drop its metrics.
    """
    told = [launch, read_json(run.exit) or {}, read_json(run.state) or {}]
    known = [number for each in told if type(number := each.get("attempt")) is int]
    kept = (path.stem.removeprefix("exit-") for path in run.root.glob("exit-*.json"))
    return max([1, *known, *(int(number) for number in kept if number.isdecimal())])


def _start(
    run: RunDir, task: TaskSpec, plan: LaunchPlan, lock: int, options: list[str] | None
) -> None:
    """Start the supervisor here, or submit the job whose batch step it is."""
    if options is None:
        run.cluster.unlink(missing_ok=True)
        start_supervisor(run, plan, lock)
    else:
        again = plan_launch(task, run, attempt=plan.attempt + 1, total_steps=plan.total_steps)
        submit_run(run, task, plan, again.argv)


def _make_folders(run: RunDir) -> None:
    for folder in (run.output, run.requests, run.rank(0).parent):
        make_private(folder)


def _total_steps(task: TaskSpec) -> int | None:
    return task.effective_train().max_train_steps if task.command is None else None


def _create(name: str) -> tuple[RunDir, int]:
    """Make a new run directory and take its lock, so that it is never seen without a holder.

    Ids rise strictly, also when several runs are made in one second: the queue for GPUs goes
    by them.
    """
    root = make_private(runs_root())
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
    with os.fdopen(os.open(root / ".create.lock", flags, PRIVATE)) as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        now = datetime.now().astimezone().replace(microsecond=0)
        # An hour and a bit: when summer time ends, local clocks repeat one. No more: a clock that
        # once stood far ahead must not date all later runs in that future.
        limit = f"{now + timedelta(minutes=61):%Y%m%d-%H%M%S}"
        stamps = (e.name[:15] for e in os.scandir(root) if e.name[:8].isdigit())
        newest = max((stamp for stamp in stamps if stamp <= limit), default="")
        run = RunDir(root / new_run_id(name, now))
        while run.id[:15] <= newest or run.root.exists():
            now += timedelta(seconds=1)
            run = RunDir(root / new_run_id(name, now))
        run.root.mkdir(mode=0o700)
        lock = locks.take(run.lock)
    assert lock is not None, "a folder just made is nobody else's"
    return run, lock


def _record(task: TaskSpec, plan: LaunchPlan, fingerprint: str | None) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **plan.masked().to_record(),
        "description": task.description,
        "created": time.time(),
        "host": platform.node(),
        "versions": versions(),
        "git": git_state(task),
        "data_fingerprint": fingerprint,
    }
