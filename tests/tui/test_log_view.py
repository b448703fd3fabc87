"""The log as a person uses it: follow, search, filter, mark, copy; and what a flood costs."""

import threading
from pathlib import Path
from typing import Any

import pytest
from textual import events

from sdtui.copying import copied_file
from sdtui.live.log_levels import Level
from sdtui.settings import Settings
from sdtui.widgets.log_pane import LogPane, pager
from sdtui.widgets.log_view import LogView
from support.console import SIZES, Driven, assert_snapshot, drive
from support.fake_runs import exit_record, make_run
from support.logs import log_lines, logged, opened, title

HOSTILE = (
    b"  ERROR  \xe5\x9b\xbe\xe5\x83\x8f \xf0\x9f\x8e\x89 \x1b]52;c;aGVsbG8=\x07\x1b[2J\x1b[31mred "
    b"[bold]bold[/bold] [@click=app.quit]x[/] \x00\xff e\xcc\x81\n"
)
TRACE = (
    b'[rank1]: Traceback (most recent call last):\n[rank1]:   File "x.py"\n[rank1]: ValueError: x\n'
)


def rows(it: Driven) -> list[str]:
    return [line[:-1].rstrip() if len(line) == 80 else line for line in it.lines()[3:-1]]


@pytest.mark.parametrize("size", SIZES)
def test_a_hostile_log_is_shown_as_text(size: tuple[int, int]) -> None:
    """A line that steers the terminal could fill the clipboard or hide what follows."""
    logged(log_lines(100) + HOSTILE + TRACE + b"\rstep 1\rstep 2")

    async def story(it: Driven) -> None:
        await opened(it)
        text = "\n".join(
            line.replace(line[line.rindex("  ") :], "") if number == 0 else line
            for number, line in enumerate(it.lines())
        )
        assert "\x1b" not in text
        assert "[bold]bold[/bold] [@click=app.quit]x[/]" in text
        assert "step 2" in text
        assert "step 1" not in rows(it)[-1]
        assert_snapshot(f"log-{size[0]}x{size[1]}", text.splitlines()[1:])

    drive(story, size)


def test_the_end_is_followed_until_one_scrolls_up_and_again_at_the_end() -> None:
    """A view that jumps away while one reads is useless; one that stays behind, too."""
    run = logged(log_lines(300))

    def more(first: int) -> None:
        with run.log.open("ab") as file:
            file.write(log_lines(10, first))

    async def story(it: Driven) -> None:
        view = await opened(it)
        more(300)
        await it.until("step=309 ")
        await it.press("pageup")
        assert "paused" in title(it)
        before = rows(it)
        more(310)
        await it.until(lambda: "320 lines" in title(it))
        assert rows(it) == before
        await it.press("home")
        await it.until("step=0 ")
        await it.press("pagedown", "pageup", "G")
        await it.until("step=319 ")
        assert view.choices.following
        await it.press("f")
        assert "paused" in title(it)

    drive(story)


def test_a_progress_bar_changes_one_line_and_a_new_line_is_drawn_once() -> None:
    """Whole panes sent ten times a second make a slow link unusable."""
    run = logged(log_lines(50) + b"10%")

    async def story(it: Driven) -> None:
        view = await opened(it)
        await it.until("10%")
        drawn = view._drawn
        with run.log.open("ab") as file:
            file.write(b"\r20%")
        await it.until("20%")
        assert view._drawn - drawn == 1
        drawn, strips = view._drawn, view._strips
        serial = view._serial
        it.app.screen.redraw()  # type: ignore[attr-defined]
        await it.pilot.pause(0.6)
        assert view._serial == serial
        assert view._drawn == drawn
        assert view._strips is strips

    drive(story)


def test_levels_and_ranks_are_filtered_by_one_key() -> None:
    """The one error among ten thousand lines is what one came for."""
    logged(log_lines(3000) + b"DEBUG x\n" + TRACE + log_lines(3000))

    async def story(it: Driven) -> None:
        await opened(it)
        await it.press("number_sign")
        assert "rank" not in title(it)
        await it.press("l", "l", "l")
        await it.until("E [rank1]: ValueError: x")
        await it.until(lambda: "level E" in title(it) and len([r for r in rows(it) if r]) == 3)
        await it.press("number_sign")
        await it.until(lambda: "rank 1" in title(it))
        await it.until("ValueError")
        await it.press("l", "number_sign")
        await it.until("step=2999 ")

    drive(story)


def test_marked_lines_are_copied_whole_and_their_secrets_are_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is cut at the edge of the screen must not be cut in a bug report."""
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    logged(log_lines(50) + b"key hf_verysecret " + b"x" * 100 + b"\nlast\n")

    async def story(it: Driven) -> None:
        view = await opened(it)
        assert "hf_verysecret" not in it.text()
        await it.press("v", "up", "y")
        await it.until(copied_file().exists)
        assert copied_file().read_text() == "key *** " + "x" * 100 + "\nlast\n"
        assert it.app.clipboard == copied_file().read_text().rstrip("\n")
        assert view.mark is None
        await it.press("y")
        await it.until(lambda: len(it.app.clipboard.splitlines()) == view.size.height)

    drive(story)


def test_wrapped_or_not_nothing_is_out_of_reach() -> None:
    """The words that explain an error stand at the end of the line."""
    logged(b"begin " + b"x" * 200 + b" the end\n")

    async def story(it: Driven) -> None:
        await opened(it)
        assert "the end" not in it.text()
        await it.press(*["right"] * 10)
        assert "the end" in it.text()
        await it.press("w")
        assert "the end" in it.text()
        assert "begin" in it.text()
        await it.pilot.resize_terminal(100, 30)
        await it.until(lambda: "the end" in it.text())

    drive(story)


def test_there_may_be_no_log_yet_and_it_may_begin_anew() -> None:
    """A run that is just starting is opened at once; a resume may replace the file."""
    run = make_run(exit=exit_record())

    async def story(it: Driven) -> None:
        await it.press("4")
        await it.until("nothing was logged yet")
        run.log.write_bytes(log_lines(100))
        await it.until("step=99 ")
        await it.press("pageup")
        run.log.write_bytes(b"anew\n")
        await it.until("anew")
        await it.press("t")
        await it.until("supervisor's log")
        await it.until("nothing was logged yet")

    drive(story)


@pytest.mark.parametrize("settings", [Settings(link="fast", language="en")])
def test_a_flood_costs_a_bounded_work_a_tick_and_keys_are_answered(settings: Settings) -> None:
    """A thousand lines a second must not be drawn a thousand times, nor a key wait for them."""
    run = logged(log_lines(1000))
    ended = threading.Event()

    def flood() -> None:
        with run.log.open("ab", buffering=0) as file:
            for number in range(1000, 1_000_000):
                if ended.wait(0.001):
                    return
                file.write(log_lines(1, number))

    async def story(it: Driven) -> None:
        view = await opened(it)
        writer = threading.Thread(target=flood)
        writer.start()
        try:
            drawn, posted = view._drawn, count_windows(view)
            await it.pilot.pause(2.0)
            ticks = len(posted)
            assert 2 <= ticks <= 2.0 / settings.period_s + 3
            assert view._drawn - drawn <= (ticks + 1) * view.size.height
            assert all(n <= 2 * 4 * 100 for n in posted)
            for key in ("pageup", "pageup", "w", "end"):
                await it.press(key)
            assert view.choices.following
        finally:
            ended.set()
            writer.join()

    drive(story, settings=settings)


def count_windows(view: LogView) -> list[int]:
    """Record how many rows each window brings from now on."""
    sizes: list[int] = []
    take = view._take_window

    def taken(window: Any) -> None:
        sizes.append(len(window.rows))
        take(window)

    view._take_window = taken  # type: ignore[method-assign]
    return sizes


def test_no_pager_is_used_that_obeys_what_a_log_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``more`` and ``less -R`` pass escape sequences on to the terminal."""
    for name in ("less", "more"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pager("more") == [str(tmp_path / "less"), "-+r", "-+R", "-S", "+G"]
    assert pager("less 'half a quote") == pager("less")
    assert pager("less -R") == [str(tmp_path / "less"), "-+r", "-+R", "-S", "+G"]
    (tmp_path / "less").unlink()
    assert pager("less") is None


def test_what_is_chosen_on_one_screen_counts_on_the_other() -> None:
    """Both show one log: a filter set in the small pane would be gone in the large one."""
    logged(log_lines(300) + TRACE + log_lines(3))

    async def story(it: Driven) -> None:
        view = await opened(it)
        await it.press("3")
        pane = it.app.screen.query_one(LogPane)
        await it.until(lambda: bool(pane.view.window.rows))
        await it.press("4", "l", "l", "w", "slash")
        await it.type("value")
        await it.press("enter")
        await it.until("1 of 1")
        assert view.choices.wrap
        await it.press("3")
        await it.until(lambda: pane.view.window.ask.only == view.choices.only)
        await it.until("/value")
        assert {row.level for row in pane.view.window.rows} == {Level.ERROR}
        await it.press("escape")

    drive(story, (100, 40))


def test_the_mouse_goes_marks_and_scrolls() -> None:
    """Everything works without it, but one that does nothing looks broken."""
    logged(log_lines(500))

    async def story(it: Driven) -> None:
        view = await opened(it)
        await it.pilot.click(LogView, offset=(view.size.width - 1, 0))
        await it.until("step=0 ")
        await it.pilot._post_mouse_events(
            [events.MouseScrollDown], LogView, offset=(5, 5), button=0
        )
        await it.until(lambda: "step=3 " in rows(it)[0])
        await it.pilot.mouse_down(LogView, offset=(5, 2))
        await it.pilot._post_mouse_events([events.MouseMove], LogView, offset=(5, 4), button=1)
        await it.pilot.mouse_up(LogView, offset=(5, 4))
        await it.press("y")
        await it.until(copied_file().exists)
        assert len(copied_file().read_text().splitlines()) == 3

    drive(story)


def test_a_theme_and_a_language_change_leave_the_log_where_it_is() -> None:
    """Screens are rebuilt then: what was chosen must not be lost."""
    logged(log_lines(300))

    async def story(it: Driven) -> None:
        await opened(it)
        await it.press("w", "home")
        await it.until("step=0 ")
        it.app.change_settings(theme="sdtui-light")
        await it.pilot.pause()
        await it.until("step=0 ")
        await it.app.screen.recompose()
        it.app.screen.redraw()  # type: ignore[attr-defined]
        await it.until(lambda: "wrapped" in title(it) and "step=0 " in it.text())
        await it.press("escape")
        await it.until(lambda: it.app.current_mode == "tasks")

    drive(story)


def test_the_pane_shows_no_run_and_then_one(home: Path) -> None:
    """The screen is open before the first look at the run."""
    logged(log_lines(3))

    async def story(it: Driven) -> None:
        view = await opened(it)
        it.app.screen.query_one(LogPane).show(None)
        await it.press("1", "4")
        assert view.feed is not None
        await it.until("step=2 ")

    drive(story)
