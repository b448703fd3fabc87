"""``sdtui rm``: remove runs, with their checkpoints and pipelines."""

import argparse
import sys

from sdcore import units
from sdcore.errors import ExitCode, SdError, UsageError
from sdcore.runs.status import read_status
from sdcore.runs.store import find_run, remove_run
from sdtui.terminal import say, say_error


def run(args: argparse.Namespace) -> int:
    """Remove all that are named; one that cannot be removed does not keep the others."""
    found = [find_run(ref) for ref in args.runs]  # all, before the first is gone
    runs = list({run_dir.id: run_dir for run_dir in found}.values())
    over = [run_dir for run_dir in runs if read_status(run_dir).over]  # the others are refused
    if over and not args.yes:
        # A name stands for its newest run: the same command, run twice, removes another one.
        for run_dir in over:
            say(f"  {run_dir.id}")
        if not _agreed(units.count(len(over), "run")):
            say("nothing was removed")
            return int(ExitCode.DONE)
    code = int(ExitCode.DONE)
    for run_dir in runs:
        try:
            remove_run(run_dir)
        except SdError as error:
            say_error(error)
            code = int(error.exit_code)
        else:
            say(f"removed {run_dir.id}")
    return code


def _agreed(what: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            f"{what} would be removed",
            cause="there is no terminal to ask, and --yes was not given",
            remedy="add --yes",
        )
    sys.stderr.write(f"remove {what} with all checkpoints and pipelines? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
