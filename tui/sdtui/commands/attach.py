"""``sdtui attach``: follow a run that was started elsewhere."""

import argparse

from sdcore.runs.store import find_run
from sdtui.following import Signals, follow_run
from sdtui.terminal import say


def run(args: argparse.Namespace) -> int:
    """Follow until the run is over and return its code; leaving it does not touch it."""
    with Signals() as signals:
        run_dir = find_run(args.run_ref)
        if not args.json:
            say(f"run {run_dir.id}; Ctrl-C leaves it, and it goes on")
        return follow_run(run_dir, signals, json=args.json, owner=False)
