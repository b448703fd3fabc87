"""Ends what a killed client leaves to its daemon: the container itself."""

import shlex
import subprocess
from dataclasses import replace

from sdcore.launch.plan import LaunchPlan
from sdcore.supervise.outcome import Outcome
from sdcore.text import clean_line

# A container is killed at once; a daemon that hangs must not keep a run from its end.
_PATIENCE_S = 30.0


def end(plan: LaunchPlan) -> str | None:
    """Remove the container of ``plan``, if there is one and it is still there.

    Call it when no process of the run is left. A container that ended is removed by then, and
    to ask for it again costs some ten milliseconds.

    Returns:
        None, or why it may still be there.
    """
    if not plan.end_argv:
        return None
    try:
        done = subprocess.run(
            plan.end_argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {_PATIENCE_S:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    words = done.stderr.strip()
    if done.returncode == 0 or "no such container" in words.lower() or "no container" in words:
        return None
    return clean_line(words.splitlines()[-1] if words else f"status {done.returncode}", 200)


def with_remains(outcome: Outcome, plan: LaunchPlan, trouble: str | None) -> Outcome:
    """Say in ``outcome`` that a container may still hold its devices, and what ends it."""
    if trouble is None:
        return outcome
    reason = f"{outcome.reason}; its container could not be ended: {trouble}"
    return replace(outcome, reason=reason, remedy=f"run: {shlex.join(plan.end_argv)}")
