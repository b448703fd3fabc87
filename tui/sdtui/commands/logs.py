"""``sdtui logs``: the log of a run, clean, folded, with its secrets masked."""

import argparse
import sys
import time

from sdcore.runs.follow import PERIOD_S
from sdcore.runs.logs import LogReader, start_of_tail
from sdcore.runs.status import read_status
from sdcore.runs.store import find_run
from sdtui.secrets import mask_of
from sdtui.terminal import out


def run(args: argparse.Namespace) -> int:
    """Write the log, or its last lines; with ``--follow`` until the run is over."""
    run_dir = find_run(args.run_ref)
    offset = 0 if args.lines is None else start_of_tail(run_dir.log, args.lines)
    reader = LogReader(run_dir.log, mask_of(run_dir), offset)
    while True:
        # The state is read before the log: what is over has written its last line.
        last = not args.follow or read_status(run_dir).over
        _write_all(reader, final=last)
        if last:
            return 0
        time.sleep(PERIOD_S)


def _write_all(reader: LogReader, *, final: bool) -> None:
    """Write what is there now, a bounded piece at a time."""
    while True:
        before = reader.offset
        for line in reader.read(final=final):
            out(line)
        sys.stdout.flush()
        if reader.offset == before:
            return
