"""The fall-back where bubblewrap is not installed: our own program makes the same root.

It has no process in between: the program becomes the command, so signals and exit codes are the
command's own.
"""

from pathlib import Path

from sdcore.launch.runtimes.job import Job, Wrapped
from sdcore.launch.runtimes.layout import driver_env, layout

ENTER = str(Path(__file__).with_name("enter.py"))


def plan(job: Job) -> Wrapped:
    """Return the command with the root of ``job`` around it."""
    assert job.facts.tree is not None, "looked at for every runtime with a layout"
    # -I: a folder of the user's with a ctypes.py in it must not become part of it; -S saves 10 ms.
    python = [job.facts.python, "-I", "-S", ENTER]
    argv = [*python, *layout(job, job.facts.tree), "--", *job.argv]
    return Wrapped(argv, env=driver_env(job))
