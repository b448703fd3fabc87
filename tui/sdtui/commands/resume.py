"""``sdtui resume``: go on from the newest good checkpoint."""

import argparse

from sdcore.runs.logs import start_of_tail
from sdcore.runs.store import find_run
from sdcore.supervise.begin import resume_run
from sdtui.following import Signals
from sdtui.headless import go_on


def run(args: argparse.Namespace) -> int:
    """Start a run again that is over, then follow it like a new one."""
    run_dir = find_run(args.run_ref)
    log_from = start_of_tail(run_dir.log, 0)  # what earlier attempts wrote is not shown again
    with Signals() as signals:
        resume_run(run_dir, sets=args.set, env=args.env)
        return go_on(run_dir, signals, detach=args.detach, json=args.json, log_from=log_from)
