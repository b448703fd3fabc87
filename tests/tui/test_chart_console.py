import pytest

from sdtui.widgets.chart_plot import Plot
from support.console import SIZES, Driven, drive
from support.fake_runs import exit_record, make_run, metric


@pytest.mark.parametrize("size", SIZES)
def test_the_console_shows_a_run_and_the_one_laid_over_it(size: tuple[int, int]) -> None:
    """From the file on disk to the cells, through the thread that reads."""
    id_ = "20260806-070640-shapes"
    for name, level in [(id_, 0.25), ("20260806-070641-other", 0.75)]:
        make_run(name, exit=exit_record(), metrics=[metric(s, loss=level) for s in range(1, 200)])

    async def story(driven: Driven) -> None:
        driven.app.open_run(id_)
        await driven.until("train_loss  EMA .98  linear")
        await driven.until("last .2500")
        driven.app.hub.overlay(("20260806-070641-other",))
        driven.app.screen.query_one(Plot).focus()
        await driven.press("home")
        await driven.until("@1  .2500")
        await driven.until(".7500")

    drive(story, size)
