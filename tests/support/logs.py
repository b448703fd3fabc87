"""Logs of runs, and the screen that shows them."""

from typing import Any

from sdcore.runs.paths import RunDir
from sdtui.widgets.log_view import LogView
from support.console import Driven
from support.fake_runs import exit_record, make_run


def log_lines(count: int, first: int = 0) -> bytes:
    """Return lines of a training, numbered as its steps."""
    return b"".join(
        b"14:02:%02d - INFO - sdcore.train - step=%d loss=0.%04d\n" % (i % 60, i, i * 7919 % 10_000)
        for i in range(first, first + count)
    )


def logged(content: bytes, **more: Any) -> RunDir:
    """Make a run that is over with this log."""
    return make_run(log=content, exit=exit_record(), **more)


async def opened(it: Driven) -> LogView:
    """Show the log and wait until all of it is counted."""
    await it.press("4")
    view = it.app.screen.query_one(LogView)
    await it.until(lambda: view.window.whole and view.facts.counted)
    assert it.app.focused is view
    return view


def title(it: Driven) -> str:
    """Return what stands above the log."""
    return it.lines()[2]
