"""What really goes to a terminal: the right picture, by few bytes."""

import re
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.fake_runs import exit_record, fake_training, make_run, metric
from support.pty_console import PtyConsole

SSH = {"SSH_CONNECTION": "192.0.2.1 5000 192.0.2.2 22"}


def some_runs(count: int = 30) -> None:
    for n in range(count):
        make_run(
            f"20260806-0706{n:02d}-run-{n}",
            exit=exit_record("failed" if n % 3 else "done", reason=f"任务 {n} is over"),
            metrics=[metric(step, loss=1 / step) for step in range(1, 60)],
            log=b"".join(b"line %d of the log\n" % line for line in range(200)),
        )


def without_time(text: str) -> str:
    """Return a screen without the clock in its first line."""
    return re.sub(r"\d\d:\d\d$", "", text, count=1, flags=re.MULTILINE)


# Keys, and what stands on the screen once they are answered.
WAY = [("\r", "train_loss"), ("4", "200 lines"), ("2", "Next problem"), ("?", "esc close"),
       ("\x1b", "Next problem"), ("1", "by age")]  # fmt: skip


def test_after_many_screens_the_terminal_shows_what_a_whole_repaint_shows() -> None:
    """A cell that was wrongly thought to be up to date stays wrong until somebody notices."""
    some_runs()
    with PtyConsole(100, 30) as it:
        it.until("run-29")
        for key, shown in WAY:
            it.press(key)
            it.until(shown)
            compare_with_a_whole_repaint(it)
        it.resize(80, 24)
        it.until(lambda: "30 runs" in it.text().split("\n")[19])
        compare_with_a_whole_repaint(it)


def compare_with_a_whole_repaint(it: PtyConsole) -> None:
    """Compare what is shown with what ctrl+l, which draws every cell, makes of it."""
    it.quiet(1.5)
    before, sent = it.text(), it.sent
    it.press("\x0c")
    it.until(lambda: it.sent > sent + 1000)
    it.quiet(1.0)
    assert without_time(it.text()) == without_time(before)


def test_the_terminals_own_size_counts() -> None:
    """``eval $(resize)`` leaves LINES and COLUMNS in the shell; a resize must still be followed."""
    some_runs()
    with PtyConsole(100, 30, COLUMNS="90", LINES="28") as it:
        it.until("run-29")
        it.until("elapsed: ")  # the peek beside the list, from 100 columns
        it.resize(80, 24)
        it.until(lambda: "30 runs" in it.text().split("\n")[19])


def test_an_idle_console_sends_nothing() -> None:
    """Left open in a corner of tmux for a week it must cost the link nothing."""
    some_runs(3)
    with PtyConsole(80, 24, **SSH) as it:
        it.until("run-2")
        it.press("\r")
        it.quiet(seconds=5)  # the rate in the top bar falls to 0.0
        assert min(it.rate(2), it.rate(2)) == 0  # in one of them the minute may change


# KB/s over SSH, by size and whether one line a second is logged. Measured: 0.8, 0.5, 1.1, 0.7.
BUDGET = {(140, 40, False): 1.2, (80, 24, False): 0.8, (140, 40, True): 2.5, (80, 24, True): 1.5}


@pytest.mark.parametrize("logs", [False, True])
def test_a_live_run_stays_within_its_budget_of_bytes(home: Path, logs: bool) -> None:
    """Over a slow link every byte too many is a key that answers late; 10 steps come a second."""
    options = ["--gpus", "2", "--every", "500", "--steps", "15000"] + ([] if logs else ["--quiet"])
    with fake_training(*options), ExitStack() as open_consoles:
        sizes = [(140, 40), (80, 24)]
        consoles = [open_consoles.enter_context(PtyConsole(*size, **SSH)) for size in sizes]
        for it in consoles:
            it.until("fake")
            it.press("\r")
            it.until("train_loss")
        time.sleep(10)  # the first steps change the axes every few seconds
        before, begun = [it.sent for it in consoles], time.monotonic()
        time.sleep(12)
        seconds = time.monotonic() - begun
        for size, it, sent in zip(sizes, consoles, before, strict=True):
            rate = (it.sent - sent) / seconds / 1000
            assert 0.05 < rate <= BUDGET[*size, logs], f"{rate:.2f} KB/s at {size}"


TWO_CHANGES = """
from textual.app import App
from textual.widgets import Static
from sdtui.wire import CountingDriver, Wire

class Two(Wire):
    BINDINGS = [("a", "count")]
    number = 0

    def __init__(self):
        super().__init__(driver_class=CountingDriver)

    def compose(self):
        yield Static("0" + " the quick brown fox" * 80, id="text")

    def action_count(self):
        self.number += 1
        self._display(self.screen, None)  # as Textual does when a refresh finds nothing to draw
        self.query_one("#text").update(str(self.number) + " the quick brown fox" * 80)

Two().run()
"""


def test_a_refresh_that_draws_nothing_does_not_cost_the_next_one_a_whole_widget() -> None:
    """Textual asks to display nothing many times a minute; the picture stays as it is."""
    with PtyConsole(80, 24, argv=[sys.executable, "-c", TWO_CHANGES]) as it:
        it.until("0 the")
        it.quiet()
        before = it.sent
        it.press("a")
        it.until("1 the")
        it.quiet()
        assert it.sent - before < 100
