"""A box over a screen: the rest of the screen stays what it is, and answers no click."""

import pytest
from textual.strip import Strip

from sdcore.errors import UsageError
from sdtui.app import SdTui
from sdtui.screens.help import HelpScreen
from sdtui.screens.settings import SettingsScreen
from sdtui.widgets.bars import TopBar
from support.console import Driven, drive
from support.fake_runs import exit_record, make_run, metric


def shown(it: Driven) -> list[Strip]:
    """Return what is on the screen, with colours."""
    return it.app.screen._compositor.render_strips()


def look(line: Strip) -> list[tuple[str, object, object, int | None]]:
    """Return text, colours and attributes of a line, whoever drew it and whatever a click does."""
    plain = line.discard_meta().simplify()
    return [
        (text, style and style.color, style and style.bgcolor, style and style._attributes)
        for text, style, _control in plain
    ]


async def open_run(it: Driven) -> None:
    await it.press("enter")
    await it.until("train_loss")


def test_a_box_leaves_what_is_beneath_it_as_it_is() -> None:
    """A tint would send every cell of the screen over the link, twice."""
    make_run(exit=exit_record(), metrics=[metric(step) for step in range(1, 60)])

    async def story(it: Driven) -> None:
        await open_run(it)
        before = shown(it)
        await it.press("question_mark")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen))
        await it.until("chart.metric")
        first, *_box, last = shown(it)
        assert [look(first), look(last)] == [look(before[0]), look(before[-1])]
        box = it.app.screen.children[0].region
        for y, line in enumerate(shown(it)):
            if box.y <= y < box.bottom:
                for begin, end in ((0, box.x), (box.right, 80)):
                    assert look(line.crop(begin, end)) == look(before[y].crop(begin, end))
        clickable = [style for style in (s for _t, s, _c in first) if style and style.meta]
        assert not clickable, "what is beneath must not answer the mouse"
        await it.press("escape")
        await it.until(lambda: [line.text for line in shown(it)] == [b.text for b in before])

    drive(story)


def test_what_changes_beneath_a_box_is_seen_and_boxes_may_lie_on_one_another() -> None:
    """A run goes on while its keys are read; the help of a box lies over the box."""
    make_run(exit=exit_record(), metrics=[metric(1)])

    async def story(it: Driven) -> None:
        await it.press("comma")
        await it.until(lambda: isinstance(it.app.screen, SettingsScreen))
        it.app.action_help()
        await it.until(lambda: isinstance(it.app.screen, HelpScreen))
        assert len(it.app.screen_stack) == 3
        lowest = it.app.screen_stack[0]
        lowest.query_one(TopBar).update("seen through two boxes")
        await it.until("seen through two boxes")

    drive(story)


def test_an_error_over_the_commands_leaves_both_to_be_seen() -> None:
    """It comes by itself, whatever is in front: a setting that could not be kept, for one."""
    make_run(exit=exit_record(), metrics=[metric(1)])

    async def story(it: Driven) -> None:
        await it.press("ctrl+p")
        await it.until("Type what you want to do")
        it.app.tell(UsageError("the file cannot be changed", cause="full", remedy="make room"))
        await it.until("the file cannot be changed")
        assert "sdtui  1 Tasks" in it.text()
        await it.press("escape")
        await it.until(lambda: "the file cannot be changed" not in it.text())

    drive(story)


def test_a_key_in_a_box_draws_nothing_of_the_screen_beneath() -> None:
    """A cursor that blinks in a field would render the whole screen each time."""
    make_run(exit=exit_record(), metrics=[metric(1)])

    async def story(it: Driven) -> None:
        await open_run(it)
        await it.press("question_mark")
        await it.until("chart.metric")
        box, looks = it.app.screen, []
        assert isinstance(box, HelpScreen)
        look_through = box._look

        def look_and_tell() -> tuple[Strip, ...]:
            looks.append(it.text)
            return look_through()

        box._look = look_and_tell  # type: ignore[method-assign]
        for _ in range(10):  # something beneath may change by itself, as its clock does
            before = it.text()
            looks.clear()
            await it.press("down")
            await it.until(lambda before=before: it.text() != before)  # type: ignore[misc]
            if not looks:
                return
        raise AssertionError("every key drew the screen beneath")

    drive(story)


def test_a_box_opened_before_the_first_picture_is_styled_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key that was typed while the console began: the styles of boxes come after the picture."""
    mounted = SdTui.on_mount

    def open_early(app: SdTui) -> None:
        mounted(app)
        app.tell(UsageError("too early", cause="typed ahead", remedy="wait"))

    monkeypatch.setattr(SdTui, "on_mount", open_early)

    async def story(it: Driven) -> None:
        await it.until("too early")
        box = it.app.screen.query_one(".dialog")
        await it.until(lambda: box.styles.border_top[0] == "tall")

    drive(story)


def test_a_box_stays_whole_while_the_terminal_changes_its_size() -> None:
    """The screen beneath learns of its size after the box, or before it."""
    make_run(exit=exit_record(), metrics=[metric(1)])

    async def story(it: Driven) -> None:
        await open_run(it)
        await it.press("question_mark")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen))
        for width, height in ((140, 40), (60, 16), (200, 60), (80, 24)):
            await it.pilot.resize_terminal(width, height)
            whole = [width] * height
            await it.until(
                lambda whole=whole: [line.cell_length for line in shown(it)] == whole  # type: ignore[misc]
            )
            await it.until("close   ↑ ↓ scroll")

    drive(story)
