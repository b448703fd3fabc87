"""The Images screen and the pane of samples: keys, sizes, what is said when there is nothing."""

import asyncio
import threading
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.style import Style
from textual.app import ComposeResult
from textual.widgets import Static

from sdcore.runs.paths import RunDir
from sdtui.live.pictures import Picture
from sdtui.screens.base import ConsoleScreen
from sdtui.screens.images import ImagesGrid
from sdtui.settings import Settings
from sdtui.widgets.picture import PictureGrid
from sdtui.widgets.samples_pane import SamplesBody, SamplesPane
from support.console import SIZES, Driven, console, drive
from support.fake_runs import exit_record, make_run
from support.pictures import draw_step


def _drawn(*steps: int) -> RunDir:
    run = make_run(exit=exit_record())
    for step in steps:
        draw_step(run, step)
    return run


async def _open(driven: Driven, run: RunDir) -> ImagesGrid:
    driven.app.open_run(run.id, "images")
    await driven.until("images  step")
    grid = driven.app.screen.query_one(ImagesGrid)
    await driven.until(lambda: grid.picture(0) is not None)
    return grid


@pytest.mark.parametrize("size", [*SIZES, (60, 16)])
def test_the_grid_shows_prompts_by_steps_at_every_size(size: tuple[int, int]) -> None:
    """For a model that draws, its pictures are the curve to look at."""
    run = _drawn(100, 200, 300, 400)

    async def story(driven: Driven) -> None:
        grid = await _open(driven, run)
        await driven.until("▸400 a red circle")
        text = driven.text()
        assert "300 a red circle" in text
        assert "prompt 1/3: a red circle  seed 7" in text
        assert "step-400/ema-00.png" in text
        assert all(len(line) <= size[0] for line in driven.lines())
        picture = grid.picture(0)
        assert picture is not None
        assert not picture.trouble

    drive(story, size)


def test_keys_scrub_by_step_and_prompt_and_the_newest_is_followed() -> None:
    """Left and right are time; at its end the view goes along with the run again."""
    run = _drawn(100, 200, 300)

    async def story(driven: Driven) -> None:
        await _open(driven, run)
        await driven.press("left")
        await driven.until("images  step 200")
        await driven.press("down")
        await driven.until("prompt 2/3: a blue square")
        await driven.press("up", "up")
        await driven.until("prompt 3/3")
        draw_step(run, 400)
        await driven.pilot.pause(0.6)
        assert "images  step 200" in driven.text()
        await driven.press("end")
        await driven.until("images  step 400")
        draw_step(run, 500)
        await driven.until("images  step 500")
        await driven.press("home")
        await driven.until("images  step 100")

    drive(story)


def test_zoom_shows_one_picture_and_its_other_weights() -> None:
    """Whether averaging helps is seen side by side, not by switching."""
    run = _drawn(100, 200)

    async def story(driven: Driven) -> None:
        grid = await _open(driven, run)
        await driven.press("enter")
        await driven.until("step 200  EMA  a red circle")
        await driven.until(lambda: (grid.picture(0) or Picture(0, 0)).rows > 15)
        await driven.press("t")
        await driven.until("images  step 200  raw and EMA")
        await driven.until("step 200  raw")
        assert "step 200  EMA" in driven.text()
        await driven.press("t")
        await driven.until("images  step 200  raw")
        await driven.press("escape")
        await driven.until("▸200 a red circle")
        await driven.press("escape")
        await driven.until(lambda: driven.app.current_mode == "tasks")

    drive(story)


def test_a_marked_step_stays_beside_the_others() -> None:
    """The question is what 15,000 steps did that 3,000 had not done."""
    run = _drawn(*range(100, 2100, 100))

    async def story(driven: Driven) -> None:
        await _open(driven, run)
        await driven.press("home", "space", "end")
        await driven.until("▸2,000 a red circle")
        assert "100 a red circle" in driven.text()
        await driven.press("enter")
        await driven.until("step 100  EMA")
        assert "step 2,000  EMA" in driven.text()
        await driven.press("enter", "space")
        await driven.until(lambda: "\n100 a red" not in driven.text())

    drive(story)


def test_a_click_chooses_and_a_second_one_zooms() -> None:
    """The mouse works, though nothing needs it."""
    run = _drawn(100, 200)

    async def story(driven: Driven) -> None:
        await _open(driven, run)
        await driven.until("▸200 a red circle")
        await driven.pilot.click(ImagesGrid, offset=(5, 12))
        await driven.until("images  step 100")
        await driven.until("prompt 2/3")
        await driven.until("▸100 a blue square")
        await driven.pilot.click(ImagesGrid, offset=(5, 12))
        await driven.until("step 100  EMA  a blue square")

    drive(story)


def test_a_damaged_picture_says_so_in_its_place() -> None:
    """The others are shown all the same."""
    run = _drawn(100)
    (run.samples / "step-100" / "ema-00.png").write_bytes(b"no picture")

    async def story(driven: Driven) -> None:
        await _open(driven, run)
        await driven.until("✗ this is no PNG")
        await driven.until("100 a blue square")

    drive(story)


def test_a_run_without_pictures_says_so() -> None:
    """An empty screen looks like one that is still loading."""
    run = make_run(exit=exit_record())

    async def story(driven: Driven) -> None:
        driven.app.open_run(run.id, "images")
        await driven.until("this run has drawn no samples yet")
        await driven.press("left", "down", "t", "enter", "space", "y", "K")

    drive(story)


def test_the_path_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what one gives to scp."""
    run = _drawn(100)
    copied: list[str] = []
    monkeypatch.setattr("sdtui.copying.copy", lambda app, text, what: copied.append(text) or "ok")

    async def story(driven: Driven) -> None:
        await _open(driven, run)
        await driven.press("y")

    drive(story)
    assert copied == [str(run.samples / "step-100" / "ema-00.png")]


def test_without_a_terminal_sharp_pictures_are_refused_in_words() -> None:
    """A query to what is no terminal would wait for an answer that cannot come."""
    run = _drawn(100)

    async def story(driven: Driven) -> None:
        await _open(driven, run)
        await driven.press("K")
        told = [note.message for note in driven.app._notifications]
        assert told == ["there is no terminal that could show it"]

    drive(story)


def test_pictures_are_decoded_outside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight megapixels would hold up every key for a second."""
    run, threads = _drawn(100), set()

    def load(path: Path, cols: int, rows: int, *, dithered: bool) -> Picture:
        threads.add(threading.current_thread() is threading.main_thread())
        return Picture(cols, rows, trouble="x")

    monkeypatch.setattr("sdtui.widgets.picture.load", load)

    async def story(driven: Driven) -> None:
        await _open(driven, run)

    drive(story)
    assert threads == {False}


# --- the pane ---------------------------------------------------------------------------------


class _Host(ConsoleScreen):
    """A screen with nothing but the pane, for its sizes."""

    MODE = "run"

    def body(self) -> ComposeResult:
        yield SamplesPane()
        yield Static("beneath")

    def show(self, view: object) -> None:
        run = getattr(view, "run", None)
        if run is not None:
            for pane in self.query(SamplesPane):
                pane.show(run)


async def _pane(driven: Driven, run: RunDir) -> SamplesPane:
    driven.app.hub.open(run.id)
    await driven.app.push_screen(_Host())
    await driven.until("samples")
    pane = driven.app.screen.query_one(SamplesPane)
    pane.query_one(SamplesBody).focus()
    await driven.pilot.pause()
    return pane


def test_the_pane_shows_the_newest_until_it_is_scrubbed() -> None:
    """It stands beside the curve of a run that goes on."""
    run = _drawn(100, 200)

    async def story(driven: Driven) -> None:
        pane = await _pane(driven, run)
        await driven.until("samples  step 200  EMA")
        await driven.until("prompt 1/3  newest")
        await driven.until("a green triangle")
        await driven.press("left")
        await driven.until("samples  step 100")
        await driven.until("prompt 1/3  1/2")
        await driven.press("down", "t")
        await driven.until("raw and EMA")
        await driven.until("raw: a blue square")
        assert "EMA: a blue square" in driven.text()
        await driven.press("end")
        await driven.until("samples  step 200")
        assert pane.choice.step is None

    drive(story, (100, 30))


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (140, 40)])
def test_over_a_slow_link_pictures_are_few_and_small(size: tuple[int, int]) -> None:
    """One picture of the full size is a minute's budget of bytes."""
    run = _drawn(100)

    async def story(driven: Driven) -> None:
        pane = await _pane(driven, run)
        await driven.until("key 6 shows all")
        grid = pane.query_one(PictureGrid)
        await driven.until(lambda: grid.picture(0) is not None)
        found = [picture for place in range(9) if (picture := grid.picture(place))]
        assert 1 <= len(found) <= 2
        assert all(picture.rows <= 8 for picture in found)

    drive(story, size, Settings(link="slow", language="en"))


def test_a_run_without_samples_says_what_brings_some() -> None:
    """An empty pane takes the place of one that says something."""
    run = make_run(exit=exit_record())

    async def story(driven: Driven) -> None:
        await _pane(driven, run)
        await driven.until("no samples were drawn")
        await driven.press("left", "right", "up", "down", "t", "end")

    drive(story)


def test_colours_reach_the_screen_where_there_are_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else here runs without colours, as tests have no terminal."""
    run = _drawn(100)

    async def story() -> None:
        async with console() as driven:
            driven.app.console._color_system = 3  # type: ignore[assignment]
            grid = await _open(driven, run)
            await driven.until("▀")
            picture = grid.picture(0)
            assert picture is not None
            assert not picture.dithered
            styles = [part.style or Style() for part in grid.render_line(picture.rows // 2)]
            reds = [s for s in styles if s.color and s.color.triplet == (255, 0, 0)]
            assert reds

    assert ColorSystem.TRUECOLOR == 3
    asyncio.run(story())


def test_a_path_that_cannot_be_copied_is_an_error_in_words(home: Path) -> None:
    """The file of the copy may not be writable; the console must outlive that."""
    run = _drawn(100)

    async def story(driven: Driven) -> None:
        await _open(driven, run)
        (home / "copied.txt").mkdir()
        await driven.press("y")
        await driven.until("cannot be written")

    drive(story)
