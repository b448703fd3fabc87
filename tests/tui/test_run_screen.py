"""One run live, at every size."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from sdcore.runs.files import write_json
from sdtui.screens.run import checkpoint_interval
from sdtui.widgets.history_pane import HistoryList, HistoryPane, rows_of, wrapped
from sdtui.widgets.pane import Pane
from support import fake_trainer
from support.console import SIZES, Driven, drive
from support.fake_runs import Supervised, exit_record, make_run, metric

TRAINER = Path(fake_trainer.__file__)


class Trained(Supervised):
    """A run of the fake trainer; ended when left."""

    def __init__(self, *options: str) -> None:
        self.run = make_run()
        self.process = subprocess.Popen(
            [sys.executable, str(TRAINER), str(self.run.root), *options],
            stdout=subprocess.PIPE, stdin=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"


async def opened(console: Driven) -> None:
    """Open the newest run and wait until it is read."""
    await console.until(lambda: bool(console.app.view.runs))
    await console.press("3")
    await console.until(lambda: console.app.view.run is not None)
    await console.until("shapes")


def shown(console: Driven) -> set[str | None]:
    """Return the ids of the panes that can be seen."""
    panes = console.app.screen.query(Pane)
    return {pane.id for pane in panes if pane.size and pane.region.height}


@pytest.mark.parametrize("size", SIZES)
def test_a_live_run_is_whole_at_every_size(size: tuple[int, int]) -> None:
    """Header, chart, GPUs, log, and more where there is room; no cell too many."""
    with Trained("--rate", "40", "--steps", "100000", "--every", "20", "--gpus", "2"):

        async def story(console: Driven) -> None:
            await opened(console)
            await console.until("● running  shapes")
            await console.until("INFO step=")
            await console.until("train_loss")
            await console.until("2 x H800")
            panes = {"chart", "gpu", "log"}
            if size[0] >= 100:
                panes.add("history" if size[0] < 140 else "left")
                await console.until("next at")
            if size[0] >= 140:
                panes.add("samples")
            assert shown(console) == panes
            assert all(cell_len(line) <= size[0] for line in console.lines())

            await console.press("v")
            assert "samples" in shown(console)
            await console.press("v")
            await console.until("▣")

        drive(story, size)


def test_a_pane_takes_the_whole_screen_and_gives_it_back() -> None:
    """On a small terminal each pane is also a full screen."""
    make_run(exit=exit_record(), metrics=[metric(n) for n in range(1, 20)], log=b"one\ntwo\n")

    async def story(console: Driven) -> None:
        await opened(console)
        before = shown(console)
        for _ in range(4):
            await console.press("m")
            pane = console.app.screen._focused_pane()  # type: ignore[attr-defined]
            assert shown(console) == {pane.id}
            assert pane.size.width == 80
            assert pane.size.height >= 18
            await console.press("escape")
            assert shown(console) == before
            await console.press("f6")
        await console.press("escape")
        assert console.app.current_mode == "tasks"

    drive(story)


def test_the_end_says_why_and_what_to_do() -> None:
    """State, reason and remedy stand where the progress stood."""
    make_run(
        exit=exit_record("failed", reason="CUDA out of memory", remedy="lower train_batch_size",
                         last_step=41, total_steps=100),
    )  # fmt: skip

    async def story(console: Driven) -> None:
        await opened(console)
        await console.until("✗ failed  shapes")
        await console.until("CUDA out of memory")
        await console.until("remedy: lower train_batch_size")
        await console.until("step 41/100")

    drive(story)


def test_a_stop_is_counted_down_and_ends_on_the_screen() -> None:
    """What a person who waits wants to know is how long."""
    with Trained("--rate", "50", "--steps", "100000", "--save", "1"):

        async def story(console: Driven) -> None:
            await opened(console)
            await console.until("● running")
            await console.press("c", "i")
            await console.told("saves a checkpoint after this step")
            await console.press("s")
            await console.until("SIGTERM in 4m 5")
            await console.until("■ stopped")
            await console.until("stopped by console, saved")
            assert console.app.view.run is not None
            assert console.app.view.run.checkpoints

        drive(story)


def test_a_folder_that_is_removed_is_said_so() -> None:
    """Another console deletes the run that is open here."""
    run = make_run(exit=exit_record(), metrics=[metric(1)])
    make_run("20260101-000000-other", exit=exit_record())

    async def story(console: Driven) -> None:
        await opened(console)
        shutil.rmtree(run.root)
        await console.until("was removed")
        await console.press("escape")
        await console.until(lambda: console.app.current_mode == "tasks")
        await console.until("✓ other")
        assert "shapes" not in "\n".join(console.lines()[:10])

    drive(story)


def test_runs_laid_over_are_kept_for_this_run() -> None:
    """A choice of six runs is not made again after each look at another screen."""
    one = make_run("20260101-000000-one", exit=exit_record(), metrics=[metric(1), metric(2)])
    make_run("20260102-000000-two", exit=exit_record(), metrics=[metric(1), metric(2)])
    make_run(exit=exit_record(), metrics=[metric(1), metric(2)])

    async def story(console: Driven) -> None:
        await opened(console)
        await console.press("o")
        await console.until("Lay up to 6 runs")
        await console.press("down", "space", "enter")
        await console.until(lambda: [i for i, _c in console.app.view.overlays] == [one.id])
        console.app.open_run(one.id)
        await console.until(lambda: console.app.view.overlays == ())
        console.app.open_run("20260806-070640-shapes")
        await console.until(lambda: [i for i, _c in console.app.view.overlays] == [one.id])

        await console.press("1", "home", "space", "space", "7")
        await console.until(
            lambda: [i for i, _c in console.app.view.overlays] == ["20260102-000000-two"]
        )
        await console.press("3")
        await console.until(lambda: [i for i, _c in console.app.view.overlays] == [one.id])

    drive(story)


def test_the_chart_is_written_where_it_was_asked(tmp_path: Path) -> None:
    """A picture of the loss for a colleague without an account here."""
    make_run(exit=exit_record(), metrics=[metric(n) for n in range(1, 50)])
    folder = tmp_path / "out"

    async def story(console: Driven) -> None:
        await opened(console)
        await console.until(lambda: bool(console.app.view.run and len(console.app.view.run.curve)))
        await console.press("x")
        await console.until("Export the chart")
        await console.until(str(Path.cwd())[:40])
        await console.press("ctrl+a", "ctrl+k")
        await console.type(str(folder))
        await console.until(str(folder)[-40:])
        await console.press("enter")
        await console.told("written:", 30)
        assert {path.suffix for path in folder.iterdir()} == {".csv", ".svg", ".png"}

    drive(story, (140, 40))


def test_hostile_text_of_a_run_is_shown_as_text() -> None:
    """Logs, events, prompts, file names: none of it may reach the terminal as it is."""
    with Trained("--rate", "30", "--steps", "40", "--every", "20", "--hostile", "--flood", "300"):

        async def story(console: Driven) -> None:
            await opened(console)
            await console.until("[/nothing]")
            await console.until("✓ done")
            for key in ("v", "v", "4", "6", "5", "1"):
                await console.press(key)
                await console.pilot.pause(0.1)
                bad = {"\x1b", "\x07", "\x08", "\x9b", "\x90", "\u202e"} & set(console.text())
                assert not bad, console.app.current_mode

        drive(story, (140, 40))


# The history pane.
def test_history_tells_the_next_checkpoint_and_the_newest_first() -> None:
    """How long until it is safe to stop is the question before each stop."""
    with Trained("--rate", "20", "--steps", "100000", "--every", "40", "--images", "1") as live:
        around = {"runtime": "bubblewrap", "why": "it makes the mount points"}
        write_json(live.run.launch, {"format": 1, "total_steps": 100_000, **around})

        async def story(console: Driven) -> None:
            await opened(console)
            pane = console.app.screen.query_one("#history", HistoryPane)
            await console.until(lambda: pane.every == checkpoint_interval(live.run) == 40)
            made = ("faint", "bubblewrap: it makes the mount points")
            await console.until(lambda: pane.query_one(HistoryList)._rows[-1:] == [made])
            await console.until(r"▣        ")  # in sight, though it moves down with each one more
            await console.until(lambda: len(of(console)) > 2)
            assert of(console)[0].startswith("next at ")
            kept = [words for words in of(console) if words.startswith("▣")]
            assert kept == sorted(kept, reverse=True)

        def of(console: Driven) -> list[str]:
            run = console.app.view.run
            return [] if run is None else [words for _style, words in rows_of(run, 40, 0.0)]

        drive(story, (100, 30))


def test_lines_are_broken_by_cells() -> None:
    """A Chinese caption has half as many characters as cells; a path has no blanks."""
    lines = wrapped("12:00 一个红色的圆圈 " + "x" * 50, 20, 6)

    assert all(cell_len(line) <= 20 for line in lines)
    assert "".join(lines).replace(" ", "") == "12:00一个红色的圆圈" + "x" * 50
    assert all(line.startswith("      ") for line in lines[1:])


def test_no_screen_falls_over_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual's filter for NO_COLOR ends the program at the first cell that has no style at all."""
    monkeypatch.setenv("NO_COLOR", "1")
    for number in (1, 2):
        make_run(
            f"2026010{number}-000000-shapes",
            exit=exit_record(),
            metrics=[metric(step) for step in range(5)],
        )

    async def story(console: Driven) -> None:
        await console.until("✓ shapes")
        await console.press("space", "space", "enter")
        await console.until("train_loss")
        await console.press("o", "space", "enter")
        for key in "4567":
            await console.press(key)
            await console.pilot.pause(0.2)
        await console.until("outcome")

    drive(story)
