"""What really goes to a terminal: the right picture, by few bytes."""

import re
from collections.abc import Callable
from functools import partial

from support.fake_runs import exit_record, make_run, metric
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


def acted(it: PtyConsole, act: Callable[[], None]) -> None:
    """Do something and wait until the console has drawn its answer."""
    before = it.sent
    act()
    it.until(lambda: it.sent > before)
    it.quiet()


def test_after_many_screens_the_terminal_shows_what_a_whole_repaint_shows() -> None:
    """A cell that was wrongly thought to be up to date stays wrong until somebody notices."""
    some_runs()
    with PtyConsole(100, 30) as it:
        it.until("run-29")
        keys = ["\x1b[B\x1b[B", "\r", "4", "\x1b[5~", "5", "2", "1", "?", "\x1b", "3", "6", "1"]
        for act in (*(partial(it.press, key) for key in keys), partial(it.resize, 80, 24)):
            acted(it, act)
            before = it.text()
            acted(it, lambda: it.press("\x0c"))  # ctrl+l draws every cell anew
            assert without_time(it.text()) == without_time(before)


def test_an_idle_console_sends_nothing() -> None:
    """Left open in a corner of tmux for a week it must cost the link nothing."""
    some_runs(3)
    with PtyConsole(80, 24, **SSH) as it:
        it.until("run-2")
        it.press("\r")
        it.quiet(seconds=5)  # the rate in the top bar falls to 0.0
        assert min(it.rate(2), it.rate(2)) == 0  # in one of them the minute may change
