"""What was chosen on a screen is still so when another language builds it anew."""

import asyncio

import pytest
from textual.await_complete import AwaitComplete

from sdtui.widgets.chart import LossChart
from support.console import Driven, drive
from support.fake_runs import exit_record, make_run, metric
from support.pictures import draw_step


async def in_another_language(it: Driven, *, from_mode: str) -> None:
    """Change the language on one screen, as a person does, and change it back."""
    mode = it.app.current_mode
    it.app.go(from_mode)
    for name in ("zh_CN", "en"):
        it.app.change_settings(language=name)
        await it.until("任务" if name == "zh_CN" else "Tasks")
        await it.pilot.pause()
    it.app.go(mode)
    await it.pilot.pause()


@pytest.mark.parametrize("from_mode", ["tasks", "run"])
def test_the_run_screen_is_as_it_was_left(from_mode: str) -> None:
    """Zoomed in on a spike, another language would show the whole run with the GPUs beside it."""
    run = make_run(exit=exit_record(), metrics=[metric(step, loss=1.0) for step in range(1, 400)])

    async def story(it: Driven) -> None:
        it.app.open_run(run.id)
        await it.until("train_loss")
        await it.press("y", "plus", "left", "left", "v", "v")
        await it.until("zoomed")
        chart = it.app.screen.query_one(LossChart)
        before = chart.view, chart.state, chart._cursor
        assert chart._cursor is not None
        await in_another_language(it, from_mode=from_mode)
        await it.until("zoomed")
        await it.until("checkpoints, events")
        chart = it.app.screen.query_one(LossChart)
        await it.until(lambda: (chart.view, chart.state, chart._cursor) == before)

    drive(story, (100, 30))


def test_a_screen_composed_ahead_may_come_amid_a_change_of_language() -> None:
    """The clock that composes screens found one away for a moment, and ended the console."""
    make_run(exit=exit_record(), metrics=[metric(1)])
    troubles: list[BaseException] = []

    async def story(it: Driven) -> None:
        remove = it.app.remove_mode
        it.app.go("run")
        await it.until("train_loss")

        def compose(mode: str) -> None:
            try:
                it.app.compose_ahead([mode], 0.0)
            except BaseException as error:  # noqa: BLE001  # the loop would only log it
                troubles.append(error)

        def removing(mode: str) -> AwaitComplete:
            removed = remove(mode)
            asyncio.get_running_loop().call_soon(compose, mode)
            return removed

        it.app.remove_mode = removing  # type: ignore[method-assign]
        it.app.change_settings(language="zh_CN")
        await it.until("任务")
        for key, words in (("1", "筛选"), ("2", "描述"), ("3", "train_loss")):
            await it.press(key)
            await it.until(words)

    drive(story, (140, 40))
    assert troubles == []


def test_another_run_begins_with_all_of_its_curve() -> None:
    """The last thousand steps of one run may be before the first of another."""
    one = make_run(exit=exit_record(), metrics=[metric(step) for step in range(1, 400)])
    two = make_run("20260101-000000-two", exit=exit_record(), metrics=[metric(1), metric(2)])

    async def story(it: Driven) -> None:
        it.app.open_run(one.id)
        await it.until("train_loss")
        await it.press("plus")
        await it.until("zoomed")
        it.app.open_run(two.id)
        await it.until(lambda: "two" in it.text() and "zoomed" not in it.text())

    drive(story, (100, 30))


def test_the_zoom_of_pictures_and_the_view_of_a_comparison_stay() -> None:
    """Whoever compares samples looks at samples, in whatever language."""
    runs = [
        make_run(f"2026010{n}-000000-r{n}", exit=exit_record(), metrics=[metric(1)]) for n in (1, 2)
    ]
    draw_step(runs[0], 10)

    async def story(it: Driven) -> None:
        await it.press("home", "space", "space", "7")
        await it.until("lowest loss")
        await it.press("v")
        await it.until("r2: no samples")
        it.app.open_run(runs[0].id, "images")
        await it.until("prompt 1/")
        await it.press("enter")
        await it.until("step 10  ")
        await in_another_language(it, from_mode="tasks")
        await it.until("step 10  ")
        await it.press("7")
        await it.until("r2: no samples")

    drive(story, (100, 30))
