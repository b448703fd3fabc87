"""Tells how a run ended, from the evidence alone.

The launcher's status says little: torchrun and accelerate return 1 for nearly everything
(measured: a SIGTERM, a SIGHUP and a rank killed by SIGKILL all gave 1). So the trainer's own
words count first, then what we did ourselves, then the kernel's, then the status.
"""

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sdcore.errors import ExitCode, NotReadyError, SdError
from sdcore.launch.plan import LaunchPlan
from sdcore.supervise.evidence import Evidence

State = Literal["done", "failed", "stopped", "interrupted"]
Cause = Literal[
    "done", "stopped", "out_of_memory", "host_memory", "non_finite",
    "error", "signal", "launch", "guard_lost",
]  # fmt: skip

LESS_GPU_MEMORY = (
    "halve train.train_batch_size and double train.gradient_accumulation_steps, or set "
    "train.gradient_checkpointing = true"
)
_LESS_HOST_MEMORY = "lower train.dataloader_num_workers, or train on a host with more memory"
# The status with which a runtime itself fails, and how the line begins that says why.
_CLIENT = {125, 126, 127}
_SURROUNDING_FAILS: dict[str, tuple[set[int], re.Pattern[str]]] = {
    "bubblewrap": ({1}, re.compile(r"^bwrap: ")),
    "unshare": ({125, 126, 127}, re.compile(r"^sdtui: ")),
    "docker": (_CLIENT, re.compile(r"^docker: |^Unable to find image|^Error")),
    "podman": (_CLIENT, re.compile(r"^Error: |^Trying to pull")),
    "apptainer": ({1, 255}, re.compile(r"^FATAL: ")),
    "enroot": ({1}, re.compile(r"^\[ERROR\]|^enroot-")),
    "pyxis": (
        {1},
        re.compile(
            r"^slurmstepd[^:]*: error: pyxis: ( +\[ERROR\] (?!.*return code)|failed to import"
            r"|couldn't chdir|--container)"
            r"|^srun: (error|fatal): (?!.*(Exited with|Terminated|Killed))"
        ),
    ),
}
_NO_IMAGE = re.compile(r"image|manifest|pull|\.sif|\.sqsh", re.IGNORECASE)
_CHECK = "see what `sdtui check` says of the task"
# A client adds a line of help below the one that matters; pulling an image may take an hour.
_LAST_WORDS, _PULL_S = {"pyxis": 30}, 3600.0
# A start command that ends with "not found" later than this did start, in seconds.
_SOON_S = 60.0
_READ_LOG = "read the end of train.log"
OUTSIDE = "a signal from outside"  # to the training itself: nobody asked us
LOST_PEER = "another process of this run ended first"  # as a rank says it
_CUDA_OOM = re.compile(r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory")
# How torchrun, accelerate and shells tell of a process that signal 9 ended.
_KILLED = re.compile(r"SIGKILL|exitcode\s*:\s*-9|exit status -9|Signals\.SIGKILL|\bKilled\b")
# Likewise of any signal: accelerate with one process; torchrun, which accelerate uses for several.
_SIGNALLED = re.compile(r"died with <Signals\.\w+: (\d+)>|exitcode\s*:\s*-(\d+) ")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended; the fields of ``exit.json`` that have to be decided."""

    state: State
    exit_code: ExitCode
    cause: Cause
    reason: str
    remedy: str | None = None


def exit_status(status: int | None) -> tuple[int | None, int | None]:
    """Split a wait status into the program's own code and the signal that ended it."""
    if status is None:
        return None, None
    code = os.waitstatus_to_exitcode(status)
    return (code, None) if code >= 0 else (None, -code)


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9; a real-time signal is known by its number alone."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def launch_failed(plan: LaunchPlan, reason: str, path: str | None) -> NotReadyError:
    """Return the error for a start command that could not be executed.

    Args:
        plan: What was to be started.
        reason: From the system, for example "No such file or directory".
        path: What it is about, when the system tells.
    """
    if path == plan.cwd:
        what = f"the folder {path} of the start command cannot be entered"
        return NotReadyError(what, cause=reason, remedy="correct the project mount in the preset")
    what = f"the start command {plan.argv[0]!r} cannot be executed"
    return NotReadyError(
        what, cause=reason, remedy="install it, or correct `command` in the preset"
    )


def of_error(error: SdError) -> Outcome:
    """Return the outcome of a run that never started."""
    return Outcome(
        "failed", error.exit_code, "launch", f"{error.what}: {error.cause}", error.remedy
    )


def to_error(outcome: Outcome) -> NotReadyError:
    """Return what the client is told of a start command that ended as soon as it started."""
    return NotReadyError(
        "the run could not be started", cause=outcome.reason, remedy=outcome.remedy or _READ_LOG
    )


def decide(evidence: Evidence) -> Outcome:
    """Return how the run ended; the first rule that knows an answer gives it."""
    rules: tuple[Callable[[Evidence], Outcome | None], ...] = (
        _finished, _lost, _out_of_gpu_memory, _diverged, _out_of_host_memory, _stopped, _failed,
        _not_surrounded, _not_started, _foreign_out_of_memory, _by_signal, _rank_by_signal,
    )  # fmt: skip
    told = (outcome for rule in rules if (outcome := rule(evidence)) is not None)
    return next(told, None) or _by_code(evidence)


def _said(evidence: Evidence, outcome: str) -> list[dict[str, Any]]:
    return [rank for rank in evidence.ranks if rank.get("outcome") == outcome]


def _text(rank: dict[str, Any], key: str) -> str | None:
    value = rank.get(key)
    return value if isinstance(value, str) and value.strip() else None


def _from_rank(
    rank: dict[str, Any], exit_code: ExitCode, cause: Cause, reason: str, remedy: str | None
) -> Outcome:
    return Outcome(
        "failed", exit_code, cause, _text(rank, "reason") or reason, _text(rank, "remedy") or remedy
    )


def _finished(e: Evidence) -> Outcome | None:
    """All that was wanted is written, whatever the launcher did afterwards."""
    code, _ = exit_status(e.status)
    by_ranks = bool(e.ranks) and len(_said(e, "done")) == len(e.ranks)
    by_code = not e.ranks and code == 0 and e.stop is None and not e.guard_lost
    if not (by_ranks or by_code):
        return None
    own = e.foreign and not e.ranks  # of what it did nothing is known
    reason = "the start command ended with code 0" if own else "training finished"
    return Outcome("done", ExitCode.DONE, "done", reason)


def _lost(e: Evidence) -> Outcome | None:
    if not e.guard_lost:
        return None
    return Outcome(
        "interrupted",
        ExitCode.LOST,
        "guard_lost",
        "the process that guards the run was killed, and the run was ended with it",
        _resume(e),
    )


def _out_of_gpu_memory(e: Evidence) -> Outcome | None:
    for rank in _said(e, "out_of_memory"):
        reason = f"rank {rank.get('rank')} ran out of GPU memory"
        return _from_rank(rank, ExitCode.OUT_OF_MEMORY, "out_of_memory", reason, LESS_GPU_MEMORY)
    return None


def _diverged(e: Evidence) -> Outcome | None:
    for rank in _said(e, "non_finite"):
        remedy = (
            "lower train.learning_rate, or use bf16, and resume; "
            "--set train.resume_from_checkpoint=step-N goes further back"
        )
        return _from_rank(rank, ExitCode.NON_FINITE, "non_finite", "the loss is not finite", remedy)
    return None


def _out_of_host_memory(e: Evidence) -> Outcome | None:
    code, number = exit_status(e.status)
    killed = (
        number == signal.SIGKILL
        or code == 128 + signal.SIGKILL
        or any(_KILLED.search(line) for line in e.log_lines)
        or bool(code and _said(e, "running"))
    )
    # The host's counter also rises for other people's processes: it needs a corpse of ours.
    if not (e.oom_kills > 0 and killed and not e.we_killed):
        return None
    return Outcome(
        "failed",
        ExitCode.OUT_OF_MEMORY,
        "host_memory",
        "the kernel killed a process of the run because the host ran out of memory",
        _LESS_HOST_MEMORY,
    )


def _stopped(e: Evidence) -> Outcome | None:
    """Somebody wished it, or the trainer took a signal from outside as such a wish."""
    stopped = _said(e, "stopped")
    forced = e.stop is not None and e.stop.rung != "save"
    silent = e.stop is not None and not _said(e, "failed")
    # Ranks fail when a signal takes their neighbour; that is part of being stopped.
    if not (stopped or forced or silent):
        return None
    by = e.stop.by if e.stop is not None else OUTSIDE
    if any(isinstance(rank.get("checkpoint"), str) for rank in stopped):
        reason = f"stopped by {by}; a checkpoint was saved"
        return Outcome("stopped", ExitCode.STOPPED, "stopped", reason, _resume(e))
    code = ExitCode.INTERRUPTED if by == "SIGINT" else ExitCode.TERMINATED
    reason = f"stopped by {by}" + (
        " while it waited for GPUs" if e.queued else ", without saving a checkpoint"
    )
    return Outcome("stopped", code, "stopped", reason, _resume(e))


def _failed(e: Evidence) -> Outcome | None:
    failed = _said(e, "failed")
    if failed and all((_text(rank, "reason") or "").startswith(LOST_PEER) for rank in failed):
        first = _rank_by_signal(e)  # the others only tell that it is gone
        if first is not None:
            return first
    for rank in failed:
        reason = f"rank {rank.get('rank')} failed"
        return _from_rank(rank, ExitCode.FAILED, "error", reason, _READ_LOG)
    return None


def _not_surrounded(e: Evidence) -> Outcome | None:
    """The runtime itself failed: the image is missing, a mount source vanished."""
    code, _ = exit_status(e.status)
    known = _SURROUNDING_FAILS.get(e.runtime)
    if known is None or code not in known[0] or e.ranks or e.seconds >= _PULL_S:
        return None
    said = [line.strip() for line in e.log_lines if line.strip()]
    told = said[-_LAST_WORDS.get(e.runtime, 4) :]
    words = next((line for line in reversed(told) if known[1].search(line)), None)
    if words is None:
        return None
    remedy = "correct `image`" if _NO_IMAGE.search(words) else "correct what it names"
    reason = f"{e.runtime} could not start the command: {words[:300]}"
    return Outcome("failed", ExitCode.NOT_READY, "launch", reason, f"{remedy}, or {_CHECK}")


def _not_started(e: Evidence) -> Outcome | None:
    """A shell started, but could not find or execute what it was told to."""
    code, _ = exit_status(e.status)
    early = e.foreign and e.seconds < _SOON_S and not e.ranks and not e.metrics
    if not (early and code in {126, 127}):
        return None
    said = (line for line in reversed(e.log_lines) if not line.startswith("srun: "))
    last = next(said, "") or f"the shell ended with {code}"
    return Outcome(
        "failed",
        ExitCode.NOT_READY,
        "launch",
        f"the start command could not be executed: {last}",
        "correct `command` in the preset",
    )


def _foreign_out_of_memory(e: Evidence) -> Outcome | None:
    if e.status == 0:
        return None
    for line in reversed(e.log_lines):
        if _CUDA_OOM.search(line):
            return Outcome(
                "failed",
                ExitCode.OUT_OF_MEMORY,
                "out_of_memory",
                line.strip()[:300],
                LESS_GPU_MEMORY,
            )
    return None


def _by_signal(e: Evidence) -> Outcome | None:
    _, number = exit_status(e.status)
    if number is None:
        return None
    broken = _said(e, "running")
    if len(broken) == 1 and not e.foreign:  # started without a launcher
        return _broken_off(e, broken, number)
    name = signal_name(number) + ("" if e.node is None else f" on {e.node}")
    reason = f"the start command was ended by {name}, which sdtui did not send"
    return Outcome("failed", ExitCode.FAILED, "signal", reason, _resume(e) or _READ_LOG)


def _rank_by_signal(e: Evidence) -> Outcome | None:
    """A training process broke off, and its launcher told of the signal that ended it."""
    broken = _said(e, "running")
    pids = tuple(f"(pid: {rank.get('pid')})" for rank in broken)
    # The line about a broken one itself, where there is one: its neighbours are ended with it.
    about = [line for line in e.log_lines if any(pid in line for pid in pids)]
    lines = [*reversed(about), *reversed(e.log_lines)]
    told = (match for line in lines if (match := _SIGNALLED.search(line)))
    match = next(told, None) if broken else None
    if match is None:
        return None
    return _broken_off(e, broken, int(match[1] or match[2]))


def _broken_off(e: Evidence, broken: list[dict[str, Any]], number: int) -> Outcome:
    which = f"rank {broken[0].get('rank')}" if len(broken) == 1 else "a training process"
    step, name = _step_of(broken[0], e), signal_name(number)
    reason = f"{which} was ended by {name} at step {step}, not by sdtui"
    return Outcome("failed", ExitCode.FAILED, "signal", reason, _resume(e) or _READ_LOG)


def _step_of(rank: dict[str, Any], e: Evidence) -> int:
    """Return the last step that a rank made: its record is only written with a checkpoint."""
    said = [rank.get("step")]
    if e.metrics.get("attempt") == rank.get("attempt"):
        said.append(e.metrics.get("step"))
    return max((step for step in said if isinstance(step, int)), default=0)


def _by_code(e: Evidence) -> Outcome:
    code, _ = exit_status(e.status)
    reason = "the start command ended" + ("" if code is None else f" with code {code}")
    reason += "" if e.node is None else f" on {e.node}"
    for rank in _said(e, "running")[:1]:
        reason += f"; rank {rank.get('rank')} broke off at step {rank.get('step')}"
    return Outcome("failed", ExitCode.FAILED, "error", reason, _READ_LOG)


def _resume(e: Evidence) -> str | None:
    return f"`sdtui resume {e.run_id}` goes on from {e.checkpoint}" if e.checkpoint else None
