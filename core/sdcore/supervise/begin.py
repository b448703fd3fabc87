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

from sdcore.errors import UsageError
from sdcore.launch.plan import LaunchPlan
from sdcore.launch.planner import plan_launch
from sdcore.launch.provenance import git_state, versions
from sdcore.runs import locks
from sdcore.runs.files import read_json, write_bytes, write_json
from sdcore.runs.paths import FORMAT, RunDir, make_private, new_run_id, runs_root
from sdcore.supervise.start import start_supervisor
from sdcore.task.presets import load_preset
from sdcore.task.spec import TaskSpec
from sdcore.task.writing import dump_preset


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
    run, lock = _create(task.name)
    try:
        for folder in (run.output, run.requests, run.rank(0).parent):
            make_private(folder)
        write_bytes(run.task, dump_preset(task, resolved=True).encode())
        _start(task, run, lock, attempt=1, total_steps=total_steps, fingerprint=fingerprint)
    finally:
        os.close(lock)
    return run


def load_task(run: RunDir, *, sets: Sequence[str] = (), env: Sequence[str] = ()) -> TaskSpec:
    """Return the frozen task of ``run``, with wishes laid over it."""
    return load_preset(run.task, sets=sets, env=env).task


def resume_run(run: RunDir, *, sets: Sequence[str] = (), env: Sequence[str] = ()) -> RunDir:
    """Start ``run`` again from its newest valid checkpoint.

    Args:
        run: A run that is over.
        sets: Changes to the task, for example ``train.max_train_steps=20000``.
        env: Changes to its environment table.

    Raises:
        UsageError: The run is alive, or the changes do not fit.
        NotReadyError: The start command could not be started.
    """
    task = load_task(run, sets=sets, env=env)
    lock = locks.take(run.lock, patience=2.0)
    if lock is None:
        raise UsageError(
            f"run {run.id} cannot be resumed",
            cause="it is still alive",
            remedy=f"follow it with `sdtui attach {run.id}`",
        )
    try:
        before = read_json(run.launch) or {}
        attempt = int(before.get("attempt", 1)) + 1
        if run.exit.exists():
            run.exit.rename(run.earlier_exit(attempt - 1))
        shutil.rmtree(run.requests, ignore_errors=True)
        for folder in (run.output, run.requests, run.rank(0).parent):
            make_private(folder)
        if sets or env:
            write_bytes(run.task, dump_preset(task, resolved=True).encode())
        changed = any(wish.startswith(("train.", "mounts")) for wish in sets) or bool(env)
        total = _total_steps(task) if changed else before.get("total_steps")
        _start(
            task,
            run,
            lock,
            attempt=attempt,
            total_steps=total,
            fingerprint=before.get("data_fingerprint"),
        )
    finally:
        os.close(lock)
    return run


def _total_steps(task: TaskSpec) -> int | None:
    return task.effective_train().max_train_steps if task.command is None else None


def _create(name: str) -> tuple[RunDir, int]:
    """Make a new run directory and take its lock, so that it is never seen without a holder.

    Ids rise strictly, also when several runs are made in one second: the queue for GPUs goes
    by them.
    """
    root = make_private(runs_root())
    with (root / ".create.lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        now = datetime.now().astimezone().replace(microsecond=0)
        newest = max((e.name for e in os.scandir(root) if e.name[:8].isdigit()), default="")
        run = RunDir(root / new_run_id(name, now))
        # A clock that once stood far ahead must not date all later runs in that future.
        limit = now + timedelta(seconds=60)
        while run.id[:15] <= newest[:15] and now < limit:
            now += timedelta(seconds=1)
            run = RunDir(root / new_run_id(name, now))
        run.root.mkdir(mode=0o700)
        lock = locks.take(run.lock)
    assert lock is not None, "a folder just made is nobody else's"
    return run, lock


def _start(
    task: TaskSpec,
    run: RunDir,
    lock: int,
    *,
    attempt: int,
    total_steps: int | None,
    fingerprint: str | None,
) -> None:
    plan = plan_launch(task, run, attempt=attempt, total_steps=total_steps)
    write_json(run.launch, _record(task, plan, fingerprint))
    start_supervisor(run, plan, lock)


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
