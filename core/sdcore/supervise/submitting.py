"""The client's half of the start of a run on a cluster: submit it."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from sdcore.cluster.calls import SilentError
from sdcore.cluster.submission import sbatch_options, submit
from sdcore.errors import SdError, UsageError
from sdcore.launch.order import Order
from sdcore.launch.plan import LaunchPlan
from sdcore.launch.slurm import JOB_SCRIPT, carried, for_python, rooted
from sdcore.runs.files import read_json, write_bytes, write_json
from sdcore.runs.paths import FORMAT, RunDir, make_private
from sdcore.runs.status import read_status
from sdcore.supervise.ends import write_end
from sdcore.supervise.outcome import of_error
from sdcore.task.spec import TaskSpec


def submit_run(run: RunDir, task: TaskSpec, plan: LaunchPlan, again: list[str]) -> None:
    """Submit the job of ``run`` and write down its number.

    The record is there before the job is: a client that is killed in between leaves a name by
    which the job is found.

    Args:
        run: Made, its lock held by the caller.
        task: With a cluster table.
        plan: Of this attempt.
        again: The command line of the attempts after it.

    Raises:
        NotReadyError: Slurm did not take it; ``exit.json`` says so, too.
    """
    assert task.cluster is not None, "asked only for a task of a cluster"
    spec = task.cluster
    env = rooted(carried(os.environ), _here())
    order = Order(
        plan, again, env, spread=task.spread, ranks=task.gpu.ranks,
        restarts=spec.restarts, grace_s=spec.grace_s,
    )  # fmt: skip
    make_private(run.cluster_folder)
    write_json(run.order, order.to_record())
    write_bytes(run.environment, os.fsencode(for_python(env)))
    write_bytes(run.cluster_folder / "job.sh", JOB_SCRIPT.encode())
    record: dict[str, Any] = {
        "format": FORMAT, "engine": spec.engine, "job": None, "name": f"sdtui-{run.id}",
        "nodes": spec.nodes, "attempt": plan.attempt, "submitted": time.time(),
        "host": os.uname().nodename, "previous": (read_json(run.cluster) or {}).get("job"),
    }  # fmt: skip
    run.allocation.unlink(missing_ok=True)  # of an earlier job
    write_json(run.cluster, record)
    try:
        job = submit(run, sbatch_options(task, run), [sys.executable, str(run.root)])
    except SdError as error:
        if isinstance(error, SilentError) and error.heard:
            # The job may be there, and would need what is left for it: it is looked for from now.
            write_json(run.cluster, {**record, "submitted": time.time()})
            raise
        write_end(run, of_error(error), plan.attempt)
        raise
    write_json(run.cluster, {**record, "job": job})


def _here() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # removed while the shell was in it
        return "/"


def refuse_job(run: RunDir) -> None:
    """Refuse to start a run again whose job may still wait or run.

    Raises:
        UsageError: It may; a lock that is free here proves nothing on a cluster.
    """
    if not run.cluster.exists():
        return
    status = read_status(run)
    if not status.over:
        job = f"its job {status.job} " if status.job else "its job "
        raise UsageError(
            f"run {run.id} cannot be resumed",
            cause=f"{job}is {status.state}" + (f": {status.reason}" if status.reason else ""),
            remedy=f"follow it with `sdtui attach {run.id}`, or stop it first",
        )
