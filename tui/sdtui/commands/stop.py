"""``sdtui stop``: leave the request, then show the count-down until nothing is left."""

import argparse
import sys
import time
from typing import Any

from sdcore.errors import ExitCode
from sdcore.runs import requests
from sdcore.runs.follow import PERIOD_S
from sdcore.runs.paths import RunDir
from sdcore.runs.status import Status, read_status
from sdcore.runs.store import find_run
from sdcore.supervise.wishes import ask_end
from sdtui.secrets import mask_of
from sdtui.terminal import cells, columns, fit, say
from sdtui.words import closing_lines, state_words


def run(args: argparse.Namespace) -> int:
    """Stop a run; 0 when it is over, whatever it was before."""
    run_dir = find_run(args.run_ref)
    status = read_status(run_dir)
    if status.over:
        say(f"{run_dir.id} is over already: {state_words(status)}")
        return 0
    kind: requests.Kind = "kill" if args.kill else "term" if args.now else "stop"
    details: dict[str, Any] = {} if args.grace is None else {"grace_s": args.grace}
    if not ask_end(run_dir, kind, by="sdtui stop", **details):
        say(f"{run_dir.id} has been asked already")
    if args.detach:
        return 0
    try:
        status = _watch(run_dir)
    except KeyboardInterrupt:
        say(f"\nleft; it goes on stopping: sdtui attach {run_dir.id}")
        return int(ExitCode.INTERRUPTED)
    for line in closing_lines(run_dir, status, mask_of(run_dir), columns(sys.stderr)):
        say(line)
    return 0


def _watch(run_dir: RunDir) -> Status:
    """Show each rung until the run is over; on a terminal with the seconds that are left."""
    countdown = _Line()
    told = None
    while not (status := read_status(run_dir)).over:
        text = state_words(status) if status.state == "stopping" else "asked to stop"
        if countdown.possible:
            countdown.draw(text)
        elif (status.state, status.stop_step) != told:
            told = (status.state, status.stop_step)
            say(text)
        time.sleep(PERIOD_S)
    countdown.clear()
    return status


class _Line:
    """One line on stderr that is written over, but only when it changes."""

    def __init__(self) -> None:
        self.possible, self._shown = sys.stderr.isatty(), ""

    def draw(self, text: str) -> None:
        """Replace the line."""
        if text != self._shown:
            room = (columns(sys.stderr) or 80) - 1  # in the last column it would wrap
            text = text if cells(text) <= room else fit(text, room)
            sys.stderr.write(f"\r{' ' * cells(self._shown)}\r{text}")
            sys.stderr.flush()
            self._shown = text

    def clear(self) -> None:
        """Take the line away."""
        self.draw("")
