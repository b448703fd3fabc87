"""``python -m sdcore.supervise.step RUN -- srun …``: what stands between us and an srun.

srun takes a SIGTERM as the wish to kill its step. This passes it on to what runs in the step,
which can then save, and ends when the step ends, with its exit code. ``RUN --agents srun …`` is
the step of the agents. The other runs a launcher under pyxis, and is noted on disk, so that
``RUN --end`` finds what a killed srun leaves.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdcore.cluster import calls
from sdcore.errors import NotReadyError
from sdcore.launch import slurm
from sdcore.launch.runtimes.pyxis import MARK
from sdcore.runs.files import read_json, write_json
from sdcore.runs.paths import RunDir, make_private
from sdcore.supervise import procs
from sdcore.supervise.prctl import die_with, set_name
from sdcore.supervise.wake import Wakeup

# In the environment of srun and of all that its step runs; the value is unique among jobs.
_STEP = "SDTUI_STEP"
# How often processes that came later are told, too; agents through Slurm, which is asked less.
_TELL_S, _TELL_AGENTS_S = 1.0, 5.0
# After SIGTERM a step in which nobody hears it yet, an image being fetched, has nothing to save.
_NOTHING_YET_S = 2.0
# What Slurm may take to end a step, in seconds; pyxis removes the container's files first, and to
# cancel the step would leave them.
_GONE_S, _CLEAN_S, _LOOK_S = 25.0, 10.0, 0.3


def run_container(run: RunDir, words: list[str]) -> int:
    """Run a container's step to its end and return its exit code, 128 + N after signal N."""
    job, node = os.environ["SLURM_JOB_ID"], os.environ["SLURMD_NODENAME"]
    note = _note(run, node)
    make_private(note.parent)
    write_json(note, {"job": job, "node": node})

    def tell() -> bool:
        first = _first(run, job, node)
        return first is not None and procs.send(first, signal.SIGTERM)

    env = {**slurm.for_step(os.environ, words), _STEP: f"{job}.{node}"}
    status = _run(slurm.own_step(os.environ, words), env, tell)
    if status < 0:  # killed: its step may live on
        return 128 - status
    note.unlink(missing_ok=True)
    return status


def run_agents(words: list[str]) -> int:
    """Run the step of the agents likewise; each of them ends the processes of its own node."""
    job = os.environ["SLURM_JOB_ID"]
    heard, next_at = False, 0.0

    def tell() -> bool:
        nonlocal heard, next_at
        if time.monotonic() < next_at:
            return heard
        try:  # again and again: an agent that has just started hears nothing yet
            steps = _steps(job, slurm.AGENTS)
            if steps and calls.call(["scancel", f"--signal={slurm.END}", *steps]).returncode == 0:
                heard, next_at = True, time.monotonic() + _TELL_AGENTS_S
        except NotReadyError as error:
            sys.stderr.write(f"the agents cannot be told to end: {error.cause}\n")
        return heard

    status = _run(words, dict(os.environ), tell)
    return status if status >= 0 else 128 - status


def _run(argv: list[str], env: dict[str, str], tell: Callable[[], bool]) -> int:
    """Run srun; once told to end, pass that on by ``tell``, which says whether it was heard."""
    ours = os.getpid()

    def in_child() -> None:
        if not die_with(ours, signal.SIGTERM):  # which to srun means: kill the step
            os._exit(1)

    wakeup = Wakeup((signal.SIGTERM, signal.SIGCHLD))
    srun = subprocess.Popen(
        argv, env=env, stdin=subprocess.DEVNULL, preexec_fn=in_child  # noqa: PLW1509 - one thread
    )  # fmt: skip
    since: float | None = None
    heard = False
    while srun.poll() is None:
        select.select([wakeup], [], [], None if since is None else _TELL_S)
        if signal.SIGTERM in wakeup.drain() and since is None:
            since = time.monotonic()
        if since is None:
            continue
        heard = tell() or heard
        if not heard and time.monotonic() - since > _NOTHING_YET_S:
            srun.terminate()
    return srun.returncode


def end(run: RunDir) -> str | None:
    """End the step that a killed srun left, on this node, or on every one when called by hand.

    Returns:
        None, or why it may still be there.
    """
    node = os.environ.get("SLURMD_NODENAME", "*")
    troubles = [trouble for note in sorted(_note(run, node).parent.glob(_note(run, node).name))
                if (trouble := _end(run, note, read_json(note) or {})) is not None]  # fmt: skip
    return "; ".join(troubles) or None


def _end(run: RunDir, note: Path, told: dict[str, Any]) -> str | None:
    job, node = str(told.get("job")), str(told.get("node"))
    found = _members(run, job, node)
    for each in found:  # Slurm's sweep misses some, and slurmctld may be away
        procs.send(each, signal.SIGKILL)
    now, cancelled = time.monotonic(), False
    deadline, cancel_at = now + _GONE_S, now + (_CLEAN_S if found else 0.0)
    try:
        while steps := _steps(job, slurm.step_name(node)):
            if time.monotonic() > deadline:
                return f"step {steps[0]} is still there after {_GONE_S:.0f} s"
            if not cancelled and time.monotonic() >= cancel_at:
                calls.call(["scancel", *steps])
                cancelled = True
            time.sleep(_LOOK_S)
    except NotReadyError as error:
        return f"{error.what}: {error.cause}"
    note.unlink(missing_ok=True)
    return None


def _steps(job: str, name: str) -> list[str]:
    """Return the numbers of the living steps of ``job`` with a name.

    Raises:
        NotReadyError: Slurm does not tell.
    """
    done = calls.call(["squeue", "--noheader", "--steps", f"--jobs={job}", "--format=%i %j"])
    if done.returncode and "Invalid job id" not in done.stderr:
        raise NotReadyError("Slurm does not tell its steps", cause=calls.words_of(done), remedy="")
    lines = (line.strip().partition(" ") for line in done.stdout.splitlines())
    return [step for step, _, told in lines if told == name]


def _note(run: RunDir, node: str) -> Path:
    return run.cluster_folder / f"step-{node}.json"


def _members(run: RunDir, job: str, node: str) -> list[procs.Proc]:
    mark = f"{_STEP}={job}.{node}".encode()
    return [p for p in procs.started_by(run.root) if mark in _zero_ended(p.pid, "environ")]


def _first(run: RunDir, job: str, node: str) -> procs.Proc | None:
    """Return the first process inside the container, which tells the others."""
    found = (p for p in _members(run, job, node)
             if _zero_ended(p.pid, "cmdline")[3:4] == [MARK.encode()])  # fmt: skip
    return next(found, None)


def _zero_ended(pid: int, name: str) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")
    except OSError:  # gone meanwhile
        return []


def main(argv: list[str]) -> int:
    """Be a step, or end one that was left."""
    run = RunDir(Path(argv[0]))
    if argv[1] == "--end":
        trouble = end(run)
        if trouble is not None:
            sys.stderr.write(f"{trouble}\n")
        return 0 if trouble is None else 1
    set_name("sdtui-step")
    return run_agents(argv[2:]) if argv[1] == "--agents" else run_container(run, argv[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
