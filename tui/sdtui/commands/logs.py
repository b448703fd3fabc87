"""``sdtui logs``: the log of a run, clean, folded, with its secrets masked."""

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from sdcore.runs.follow import PERIOD_S
from sdcore.runs.logs import LONGEST_END, LogReader, start_of_tail
from sdcore.runs.paths import RunDir
from sdcore.runs.status import read_status
from sdcore.runs.store import find_run
from sdtui.secrets import mask_of
from sdtui.terminal import out


def run(args: argparse.Namespace) -> int:
    """Write the log, or its last lines; with ``--follow`` until the run is over."""
    run_dir = find_run(args.run_ref)
    path = run_dir.log if run_dir.log.exists() else _jobs_own(run_dir)
    # From further above, because some lines there may not be shown.
    above = args.lines and args.lines + LONGEST_END
    offset = 0 if above is None else start_of_tail(path, above)
    reader, tail = LogReader(path, mask_of(run_dir), offset), args.lines
    while True:
        # The state is read before the log: what is over has written its last line.
        last = not args.follow or read_status(run_dir).over
        lines = _all_lines(reader, final=last)
        for line in lines if tail is None else deque(lines, tail):
            out(line)
        tail = None
        sys.stdout.flush()
        if last:
            return 0
        time.sleep(PERIOD_S)


def _jobs_own(run: RunDir) -> Path:
    """Return the output of a cluster's job that is over and never came to its training."""
    status = read_status(run)
    return run.log if status.job is None or not status.over else run.job_log(status.job)


def _all_lines(reader: LogReader, *, final: bool) -> Iterator[str]:
    """Yield what is there now, a bounded piece at a time."""
    while True:
        before = reader.offset
        yield from reader.read(final=final)
        if reader.offset == before:
            return
