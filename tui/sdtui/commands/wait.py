"""``sdtui wait``: for scripts; silent, and it returns the run's exit code."""

import argparse
import time

from sdcore.errors import ExitCode
from sdcore.runs.follow import PERIOD_S
from sdcore.runs.status import read_status
from sdcore.runs.store import find_run
from sdtui.secrets import mask_of, masked


def run(args: argparse.Namespace) -> int:
    """Wait until the run is over."""
    run_dir = find_run(args.run_ref)
    while not (status := read_status(run_dir)).over:
        time.sleep(PERIOD_S)
    if args.json:
        from sdtui.stream import exit_message
        from sdtui.terminal import out_json

        out_json(masked(exit_message(run_dir, status), mask_of(run_dir)), stream=True)
    return status.exit_code if status.exit_code is not None else int(ExitCode.LOST)
