"""The client's half of a start: spawn the supervisor and wait until the run is on its way."""

import json
import os
import subprocess
import sys

from sdcore.errors import SdError
from sdcore.launch.plan import LaunchPlan
from sdcore.runs.files import PRIVATE
from sdcore.runs.paths import RunDir
from sdcore.supervise.ready import from_record, read_answer
from sdcore.text import clean_line


def start_supervisor(run: RunDir, plan: LaunchPlan, lock_fd: int) -> None:
    """Start the supervisor of ``run`` and return when its program runs or waits for GPUs.

    Args:
        run: An absolute run directory that exists and is over or new.
        plan: With its secrets: it travels on a pipe, and nothing of it is in an argument that
            ``ps`` shows.
        lock_fd: A descriptor that holds ``supervisor.lock``; the supervisor inherits the hold.
            The caller still has to close its own copy, after this returns or raises.

    Raises:
        NotReadyError: The program, its folder or the GPUs are not there; ``exit.json`` says so
            too, and nothing is left running.
        SdError: The supervisor itself could not start.
    """
    answer_fd, ready_fd = os.pipe2(os.O_CLOEXEC)
    try:
        _spawn(run, plan, lock_fd, ready_fd)
        answer = read_answer(answer_fd)
    finally:
        os.close(answer_fd)
    if answer is None:
        raise SdError(
            f"the supervisor of run {run.id} ended before it was ready",
            cause=_last_words(run),
            remedy=f"read {run.supervisor_log}, then start the run again",
        )
    if "error" in answer:
        raise from_record(answer["error"])


def _spawn(run: RunDir, plan: LaunchPlan, lock_fd: int, ready_fd: int) -> None:
    """Start the process that forks the supervisor, feed it the plan, and wait for the fork.

    Closes ``ready_fd`` here: as long as we held it, its end would never come.
    """
    log = os.open(
        run.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE
    )
    # -P: a folder of the user's with a json.py in it must not become part of the supervisor.
    argv = [sys.executable, "-P", "-m", "sdcore.supervise"]
    argv += [str(run.root.absolute()), str(lock_fd), str(ready_fd)]
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(lock_fd, ready_fd),
            start_new_session=True,
        )
    finally:
        os.close(log)
        os.close(ready_fd)
    # A broken pipe is no news here: the missing answer says it.
    process.communicate(json.dumps(plan.to_record()).encode())


def _last_words(run: RunDir) -> str:
    lines = run.supervisor_log.read_text("utf-8", errors="replace").strip().splitlines()
    return clean_line(lines[-1]) if lines else "it left no message; it may have been killed"
