"""Submits a run to Slurm, and has Slurm judge it first."""

import re
import time
from collections.abc import Sequence

from sdcore import units
from sdcore.cluster.calls import SilentError, call, silence_in, unreachable, words_of
from sdcore.errors import NotReadyError
from sdcore.launch import slurm
from sdcore.runs import jobs
from sdcore.runs.fields import Fields, read_fields
from sdcore.runs.paths import RunDir, runs_root
from sdcore.runs.squeue import Job
from sdcore.task.spec import ClusterSpec, TaskSpec

# How long a job is looked for whose submission nobody answered. A controller that comes back works
# off what it had heard, not necessarily first: a job that is not there yet may come.
_LOOK_UP_S, _PAUSE_S, _MISSES = 20.0, 1.0, 4
_JOB_ID = re.compile(r"(\d+)(;|$)")


def rehearse(task: TaskSpec, run: RunDir | None = None) -> list[str]:
    """Have Slurm judge the job of ``task`` without submitting it; return the options.

    Args:
        task: With a cluster table.
        run: Left out, one that is not made yet.

    Raises:
        NotReadyError: Slurm is away, or would not take the job; its words are in the error.
    """
    run = run or RunDir(runs_root() / f"20260101-000000-{task.name}")
    chosen = sbatch_options(task, run)
    # Neither folder needs to exist for a rehearsal, but the one it starts in does.
    tried = [option for option in chosen if not option.startswith("--chdir=")]
    done = call(["sbatch", "--test-only", *tried], stdin=slurm.JOB_SCRIPT)
    if done.returncode:
        raise _refused(task, words_of(done))
    return chosen


def sbatch_options(task: TaskSpec, run: RunDir) -> list[str]:
    """Return sbatch's options for ``task``, with the GPUs' type as this cluster calls it."""
    shape = _shape(task)
    kind = None
    if task.gpu.count and task.gpu.type:
        kind = slurm.gres_type(task.gpu.type, offered_types())
    return slurm.options(
        shape, gpus=task.gpu.count, gres=kind, run_id=run.id, folder=str(run.cluster_folder),
        root=str(run.root),
    )  # fmt: skip


def offered_types() -> list[str]:
    """Return the GPU types that the cluster's nodes have, by Slurm's names."""
    done = call(["sinfo", "--noheader", "--format=%G"])
    return slurm.gres_types(done.stdout) if done.returncode == 0 else []


def _shape(task: TaskSpec) -> ClusterSpec:
    assert task.cluster is not None, "asked only for a task of a cluster"
    return task.cluster


def _refused(task: TaskSpec, words: str) -> NotReadyError:
    silence = silence_in(words)
    if silence is not None:
        return silence
    if "configuration source" in words or "configuration file" in words:
        return unreachable(words)
    shape = _shape(task)
    gpus = f" x {task.gpu.count} GPUs" if task.gpu.count else ""
    asked = f"{units.count(shape.nodes, 'node')}{gpus}"
    remedy = f"change [cluster] or [gpu] (it asks for {asked}); `sinfo` shows what there is"
    return NotReadyError("Slurm would not take the job", cause=words, remedy=remedy)


def submit(run: RunDir, options: Sequence[str], arguments: Sequence[str]) -> str:
    """Submit the job of ``run`` and return its number.

    Args:
        run: Its folder holds what the job reads; ``cluster.json`` has the name of the job.
        options: From ``rehearse``.
        arguments: Of the job script.

    Raises:
        SilentError: Slurm did not answer; where it may have heard, nobody knows of the job.
        NotReadyError: It was not taken.
    """
    script = run.cluster_folder / "job.sh"
    try:
        done = call(["sbatch", "--parsable", *options, str(script), *arguments])
    except SilentError as error:
        return _taken_anyhow(run, error)
    found = _JOB_ID.match(done.stdout.strip())
    if not done.returncode and found is not None:
        return found.group(1)
    words = words_of(done)
    silence = silence_in(words)
    if silence is not None and silence.heard:
        return _taken_anyhow(run, silence)
    raise silence or NotReadyError(
        "Slurm did not take the job", cause=words, remedy="`sinfo` shows what there is; try again"
    )


def _taken_anyhow(run: RunDir, silence: SilentError) -> str:
    """Return the number of a job that was taken although sbatch says that nobody answered.

    Raises:
        SilentError: It is not there; ``heard`` where Slurm does not tell whether it is.
    """
    record, misses = read_fields(run.cluster) or Fields(None), 0
    end = time.monotonic() + _LOOK_UP_S
    while time.monotonic() < end and misses < _MISSES:
        found = jobs.named(record, patience=_LOOK_UP_S / 2)
        if isinstance(found, Job):
            return found.id
        misses += found is None
        time.sleep(_PAUSE_S)
    if misses >= _MISSES:
        silence.heard = False
        raise silence
    silence.what = "Slurm does not answer, and whether it took the job is not known"
    silence.remedy = f"`sdtui show {run.id}` tells when `sinfo` answers; `sdtui stop` cancels it"
    raise silence
