"""A run of a start command of the user's own: where its steps are read from is always in sight."""

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sdcore.runs import locks
from sdcore.runs.follow import Follower
from sdcore.runs.logs import LogReader
from sdtui import cli
from sdtui.progress import PlainDisplay
from support.console import Driven, drive
from support.fake_runs import exit_record, make_run


def step(number: int, source: str, **more: Any) -> dict[str, Any]:
    at = time.time() - 60 + number
    return {
        "at": at,
        "attempt": 1,
        "step": number,
        "loss": 0.5,
        "total": 80,
        "source": source,
    } | more


@contextmanager
def living(source: str, **more: Any) -> Iterator[Any]:
    """A run that lives as long as we hold its lock."""
    run = make_run(
        state={"phase": "running", "attempt": 1, "since": time.time() - 60},
        metrics=[step(number, source, **more) for number in range(1, 21)],
        log=b"loading\n\rSteps: 25%|##| 20/80 [00:20<01:00, 1.00it/s, loss=0.5]",
    )
    lock = locks.take(run.lock)
    assert lock is not None
    try:
        yield run
    finally:
        os.close(lock)


@pytest.mark.parametrize(
    ("source", "english", "chinese"),
    [("log", "read from its log", "读自其日志"),
     ("tensorboard", "read from TensorBoard files", "读自 TensorBoard 文件")],
)  # fmt: skip
def test_the_run_screen_tells_the_source_and_the_rate_under_its_own_name(
    source: str, english: str, chinese: str
) -> None:
    """An iteration of somebody's bar is not an image, and a curve that was read is not told."""
    with living(source, it_per_s=1.45):

        async def story(console: Driven) -> None:
            await console.until(lambda: bool(console.app.view.runs))
            await console.press("3")
            await console.until("1.45 it/s")
            await console.until(english)
            await console.until("20/80")
            await console.until("25.0%")
            await console.until("ETA")
            console.app.change_settings(language="zh_CN")
            await console.until(chinese)
            await console.until("1.45 it/s")
            console.app.change_settings(language="en")

        drive(story)


def test_percent_rate_and_source_reach_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with living("log", it_per_s=0.4) as run:
        cli.main(["ls"])
        assert "20/80" in capsys.readouterr().out
        cli.main(["show", "last"])
        told = capsys.readouterr().out
        assert "0.4 it/s" in told
        assert "images" not in told
        assert "read from train.log" in told
        assert "ETA" in told

        lines = io.StringIO()
        display = PlainDisplay(lines)
        follower = Follower(run, LogReader(run.log))
        display.show(follower.poll())
        assert "step 20/80 (25 %)  loss 0.5  0.4 it/s" in lines.getvalue()
        assert "loading" in lines.getvalue(), "what the command prints is still shown"


def test_a_loss_that_is_not_finite_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(exit=exit_record("failed", last_loss="NaN", images_per_s=None, it_per_s=2.0,
                              metrics_source="tensorboard"))  # fmt: skip
    cli.main(["show", "last"])
    told = capsys.readouterr().out
    assert "nan" in told
    assert "2 it/s" in told
    assert "TensorBoard" in told
