"""The console as a whole: its bars, boxes and ways from screen to screen."""

import time

import pytest
from textual.events import Key
from textual.widgets import Input

from sdcore.errors import UsageError
from sdtui.settings import Settings, load_settings
from sdtui.theme import THEMES
from sdtui.widgets.bars import TopBar
from sdtui.widgets.lines import Lines
from sdtui.widgets.log_view import LogView
from support.console import SIZES, Driven, drive
from support.fake_runs import exit_record, make_run, metric, sdtui


@pytest.mark.parametrize("size", SIZES)
def test_every_screen_is_named_and_every_bar_fits(size: tuple[int, int]) -> None:
    """A bar that is cut in the middle of a word tells nobody where they are."""

    async def story(it: Driven) -> None:
        top = it.lines()[0]
        assert top.startswith(" sdtui  1 Tasks  2 New  3 Run  4 Log  5 GPU  6 Images  7 Compare")
        assert "? Help" in it.lines()[-1]

    drive(story, size)


@pytest.mark.parametrize("size", [(59, 24), (80, 15), (20, 5), (1, 1)])
def test_a_terminal_too_small_gets_one_honest_line(size: tuple[int, int]) -> None:
    """Half a screen that looks whole misleads."""

    async def story(it: Driven) -> None:
        shown = [line for line in it.lines() if line.strip()]
        assert len(shown) == 1
        assert shown[0].strip().startswith("sdtui needs 60x16"[: size[0] - 1])

    drive(story, size)


def test_a_theme_chosen_is_kept_and_counts_at_once() -> None:
    """Settings that are gone the next day are set every day."""

    async def story(it: Driven) -> None:
        it.app.change_settings(theme="sdtui-light")
        await it.pilot.pause()
        assert it.app.current_theme.name == "sdtui-light"

    drive(story)

    assert load_settings().theme == "sdtui-light"


def test_an_unknown_theme_does_not_keep_the_console_from_opening() -> None:
    """The file may name a theme of another version."""

    async def story(it: Driven) -> None:
        assert it.app.current_theme.name == "sdtui-dark"

    drive(story, settings=Settings(theme="gone"))


def test_keys_can_be_set_by_the_names_that_help_shows() -> None:
    """A key that a terminal or a window manager keeps for itself must be movable."""

    async def story(it: Driven) -> None:
        await it.press("f5")
        await it.until("app.help")

    drive(story, (100, 70), Settings(keys={"app.help": "f5"}, language="en"))


def test_help_explains_the_signs_of_the_chart() -> None:
    """Nobody guesses that an empty triangle is a checkpoint that was removed."""
    run = make_run(exit=exit_record(), metrics=[metric(step) for step in range(1, 9)])

    async def story(it: Driven) -> None:
        it.app.open_run(run.id)
        await it.until("train_loss")
        await it.press("question_mark")
        await it.until("▵")
        for sign in ("▴", "↻", "✗"):
            assert sign in it.text()

    drive(story, (140, 70), Settings(link="fast", language="en"))


def test_the_palette_finds_a_command_by_its_words() -> None:
    """Nobody learns all keys; what can be done must be found by name."""

    async def story(it: Driven) -> None:
        await it.press("ctrl+p")
        await it.type("theme: nord")
        await it.until("Theme: nord")
        await it.press("enter")
        await it.until(lambda: it.app.current_theme.name == "nord")

    drive(story)


def test_an_error_says_what_why_and_one_next_step() -> None:
    """A message that ends with the problem leaves a person with it."""

    async def story(it: Driven) -> None:
        it.app.tell(
            UsageError("\x1b]52;c;eA==\x07it failed", cause="[red]disk", remedy="free some")
        )
        await it.until("it failed")
        assert "[red]disk" in it.text()
        assert "free some" in it.text()
        await it.press("escape")
        assert "it failed" not in it.text()

    drive(story)


def test_without_a_terminal_the_console_says_what_to_use_instead() -> None:
    """In a script nobody would see it, and it would wait for a key for ever."""
    run = sdtui()

    assert run.returncode == 2
    assert "no terminal" in run.stderr
    assert "sdtui --run" in run.stderr


def test_a_theme_that_does_not_exist_is_told_and_harms_nothing() -> None:
    """A typo in a colour's name must not end the console when another setting is changed."""

    async def story(it: Driven) -> None:
        await it.told("console.theme: cannot be 'nordd'")
        it.app.change_settings(chart={"log": True})
        await it.press("comma")
        await it.until("sdtui-dark")

    drive(story, settings=Settings(theme="nordd", language="en"))


def _colours(it: Driven) -> set[str]:
    """Return the colours of all signs on the screen."""
    strips = it.app.screen._compositor.render_strips()
    pieces = [part for strip in strips for part in strip if part.text.strip() and part.style]
    return {part.style.color.name for part in pieces if part.style and part.style.color}


@pytest.mark.parametrize("run", ["", "20260806-070600-r"])
def test_another_theme_leaves_no_colour_of_the_old_one(run: str) -> None:
    """Nothing of a run that is over changes: pale letters would stay on a white ground."""
    dark, light = THEMES[0].variables, THEMES[1].variables
    if run:
        make_run(run, exit=exit_record(), metrics=[metric(step, loss=1.0) for step in range(1, 9)])

    async def story(it: Driven) -> None:
        if run:
            it.app.open_run(run)
        await it.until("train_loss" if run else "free of")
        assert _colours(it) & {dark["rule"], dark["faint"]}
        it.app.change_settings(theme=THEMES[1].name)
        await it.until(lambda: bool(_colours(it) & {light["rule"], light["faint"]}))
        await it.until(lambda: not _colours(it) & (set(dark.values()) - set(light.values())))

    drive(story, (140, 40))


def test_a_theme_with_the_same_ground_leaves_no_colour_of_the_old_one_either() -> None:
    """The colour-blind's differs in signs alone: what goes by the ground would stay as it was."""
    plain, safe = THEMES[0].variables, THEMES[2].variables
    run = make_run(exit=exit_record(), metrics=[metric(step) for step in range(1, 9)])
    (run.checkpoints / "step-4").mkdir(parents=True)

    async def story(it: Driven) -> None:
        it.app.open_run(run.id)
        await it.until("train_loss")
        await it.until("▣")
        gone = {*plain.values(), THEMES[0].success} - {*safe.values(), THEMES[2].success}
        gone -= {None}
        assert _colours(it) & gone
        it.app.change_settings(theme=THEMES[2].name)
        await it.until(lambda: not _colours(it) & gone)

    drive(story, (140, 40))


def test_a_screen_seen_before_is_shown_again_in_the_theme_chosen_since() -> None:
    """Only what is open is styled anew at once; the others wait until they are shown."""
    make_run("20260806-070600-r", exit=exit_record(), metrics=[metric(1)])
    dark, light = (set(theme.variables.values()) for theme in THEMES[:2])

    async def story(it: Driven) -> None:
        await it.until("by age")
        await it.press("4")
        await it.until("following")
        it.app.change_settings(theme=THEMES[1].name)
        await it.press("1")
        await it.until("by age")
        await it.until(lambda: bool(_colours(it) & light) and not _colours(it) & (dark - light))

    drive(story, (140, 40))


def test_a_picture_that_is_held_back_is_shown_though_the_screen_never_draws_itself() -> None:
    """A held picture that nobody lets go is a console that looks dead."""

    async def story(it: Driven) -> None:
        it.app.delay_update()
        it.app.screen.query_one(TopBar).update("seen after all")
        await it.until(lambda: it.app._held is None, seconds=3)
        await it.until("seen after all")

    drive(story)


def test_the_help_can_be_read_to_its_end() -> None:
    """It is longer than a small terminal."""

    async def story(it: Driven) -> None:
        await it.press("question_mark")
        await it.until("Commands")
        last = it.app.screen.query_one(Lines)._lines[-1].text.strip()
        assert last not in it.text()
        await it.press("end")
        await it.until(last)

    drive(story)


def test_a_screen_is_composed_behind_the_one_in_front_and_is_whole_when_it_is_shown() -> None:
    """Composed at its first key it would come late; composed wrongly it would take the keys."""
    run = make_run("20260806-070600-r", exit=exit_record(), metrics=[metric(1)], log=b"a line\n")
    dark, light = (set(theme.variables.values()) for theme in THEMES[:2])

    async def story(it: Driven) -> None:
        await it.press("3")
        await it.until("train_loss")
        front, focused = it.app.screen, it.app.focused
        for mode in ("log", "gpu", "images"):
            it.app.compose_ahead(["log", "gpu", "images"], typed=0.0)
            assert mode in it.app._screen_stacks
        log = it.app._screen_stacks["log"][0]
        await it.until(lambda: bool(log.query(LogView)))
        await it.pilot.pause(0.3)
        assert (it.app.screen, it.app.focused) == (front, focused)
        assert it.app.hub_run == run
        it.app.change_settings(theme=THEMES[1].name)
        await it.pilot.resize_terminal(100, 30)
        await it.press("4")
        await it.until("a line")
        assert it.app.screen is log
        assert it.app.focused is log.query_one(LogView)
        await it.until(lambda: bool(_colours(it) & light) and not _colours(it) & (dark - light))
        await it.press("6")
        await it.until("Images")

    drive(story, (140, 40))


def test_nothing_is_composed_while_somebody_types() -> None:
    async def story(it: Driven) -> None:
        assert not it.app.compose_ahead(["compare"], typed=time.monotonic())
        assert "compare" not in it.app._screen_stacks

    drive(story)


@pytest.mark.parametrize("opened", [False, True])
def test_the_form_is_loaded_ahead_unless_a_run_is_followed(opened: bool) -> None:
    """It is a sixth of what the console takes, and who follows a run may never need it."""
    make_run(exit=exit_record(), metrics=[metric(1)])

    async def story(it: Driven) -> None:
        if opened:
            it.app.open_run(it.app.view.runs[0].id)  # type: ignore[index]
        for _look in range(40):
            it.app._typed = 0.0
            it.app._look_round()
            await it.pilot.pause(0.05)
            if {"run", "log", "gpu", "images", "new"} <= set(it.app._screen_stacks):
                break
        assert {"run", "log", "gpu", "images"} <= set(it.app._screen_stacks)
        assert ("new" in it.app._screen_stacks) is not opened

    drive(story)


def test_keys_that_come_at_once_reach_what_the_first_of_them_opens() -> None:
    """Over a slow link ``/quick`` is one packet; its q ended the console, its 4 went to the log."""
    make_run("20260806-070600-bird-4q", exit=exit_record(), metrics=[metric(1)], log=b"quick 4\n")

    def type_at_once(it: Driven, keys: str) -> None:
        for each in keys:
            name = {"/": "slash", " ": "space"}.get(each, each)
            it.app.post_message(Key(name, each))

    async def story(it: Driven) -> None:
        await it.until("bird-4q")
        type_at_once(it, "/4q")
        await it.until(lambda: "4q" in [field.value for field in it.app.screen.query(Input)])
        await it.press("escape", "escape", "4")
        await it.until("quick 4")
        type_at_once(it, "/quick")
        await it.until("/quick")
        await it.press("escape", "escape")
        type_at_once(it, "2/lr q1")
        await it.until(
            lambda: [i.value for i in it.app.screen.query("#training-search")] == ["lr q1"]
        )
        assert it.app.current_mode == "new"

    drive(story, (140, 40))


def test_a_key_without_an_answer_does_not_hold_the_others_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its target may be gone before it comes there."""
    monkeypatch.setattr("sdtui.turns._PATIENCE_S", 0.2)

    async def story(it: Driven) -> None:
        it.app.on_turns_passed = lambda _message: None  # type: ignore[method-assign]
        it.app.post_message(Key("down", None))
        it.app.post_message(Key("2", "2"))
        await it.until(lambda: it.app.current_mode == "new")

    drive(story)


def test_no_screen_is_composed_while_the_console_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left at the wrong moment, it ended with a traceback: a screen came while all were closed."""
    made: list[str] = []

    async def story(it: Driven) -> None:
        close_all = it.app._close_all

        async def closing() -> None:
            monkeypatch.setattr(it.app, "_init_mode", made.append)
            it.app.compose_ahead(("log",), typed=0.0)
            monkeypatch.undo()
            await close_all()

        monkeypatch.setattr(it.app, "_close_all", closing)

    drive(story)

    assert not made
