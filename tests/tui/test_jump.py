"""Jump mode: letters on the panes, one of which takes the focus."""

import pytest
from textual.widget import Widget

from sdtui.screens.help import HelpScreen
from sdtui.screens.jump import JumpScreen
from sdtui.settings import Settings
from sdtui.widgets.lines import Lines
from sdtui.widgets.pane import Pane
from support.console import Driven, drive
from support.fake_runs import exit_record, make_run, metric


def a_run() -> None:
    make_run(
        exit=exit_record(),
        metrics=[metric(step) for step in range(1, 60)],
        log=b"one line\n" * 50,
    )


def pane_of(it: Driven) -> str | None:
    """Return the id of the pane that has the focus."""
    focused: Widget | None = it.app.screen.focused
    if focused is None:
        return None
    return next((n.id for n in focused.ancestors_with_self if isinstance(n, Pane)), None)


async def open_run(it: Driven) -> None:
    await it.press("enter")
    await it.until("train_loss")
    await it.until(lambda: pane_of(it) == "chart")


async def lettered(it: Driven) -> None:
    """Have letters put on the panes."""
    await it.press("ctrl+o")
    await it.until(lambda: isinstance(it.app.screen, JumpScreen))


@pytest.mark.parametrize(
    ("size", "ways"),
    [
        ((80, 24), {"g": "gpu", "l": "log", "c": "chart"}),
        ((140, 40), {"g": "gpu", "h": "left", "l": "log", "c": "chart"}),
    ],
)
def test_a_letter_gives_its_pane_the_focus(size: tuple[int, int], ways: dict[str, str]) -> None:
    """F6 goes round in a circle; a hand that knows the letter goes straight there."""
    a_run()

    async def story(it: Driven) -> None:
        await open_run(it)
        for letter, pane in ways.items():
            await lettered(it)
            lines = it.lines()
            screen = it.app.screen_stack[-2]
            for each in screen.query(Pane):
                if each.region.area and each.id in ways.values():
                    at = each.region.offset
                    shown = {v: k for k, v in ways.items()}[each.id]
                    assert lines[at.y][at.x : at.x + 3] == f" {shown} ", it.text()
            await it.press(letter)
            await it.until(lambda pane=pane: pane_of(it) == pane)  # type: ignore[misc]

    drive(story, size)


@pytest.mark.parametrize("key", ["escape", "z", "ctrl+o", "f5"])
def test_any_other_key_only_takes_the_letters_away(key: str) -> None:
    """A slip must not start anything, nor leave letters over the numbers."""
    a_run()

    async def story(it: Driven) -> None:
        await open_run(it)
        before = it.lines()[1:]
        await lettered(it)
        await it.press(key)
        await it.until(lambda: not isinstance(it.app.screen, JumpScreen))
        assert pane_of(it) == "chart"
        await it.until(lambda: it.lines()[1:] == before)

    drive(story)


def test_letters_do_what_they_say_and_nothing_else() -> None:
    """A letter stops a run, another leaves: while there are letters they are only letters."""
    a_run()

    async def story(it: Driven) -> None:
        await open_run(it)
        await lettered(it)
        await it.press("q")
        await it.until(lambda: not isinstance(it.app.screen, JumpScreen))
        assert it.app.is_running
        await lettered(it)
        await it.press("L")  # with Caps Lock
        await it.until(lambda: pane_of(it) == "log")
        await it.press("m")
        await it.press("ctrl+o")
        await it.told("There is no other pane")

    drive(story)


def test_the_letters_go_when_the_terminal_changes_its_size() -> None:
    """They would stand where no pane is."""
    a_run()

    async def story(it: Driven) -> None:
        await open_run(it)
        await lettered(it)
        await it.pilot.resize_terminal(140, 40)
        await it.until(lambda: not isinstance(it.app.screen, JumpScreen))

    drive(story)


def test_on_the_form_the_same_key_loads() -> None:
    """It says so in its key bar, and has no panes."""

    async def story(it: Driven) -> None:
        await it.press("2")
        await it.until("Next problem")
        await it.press("ctrl+o")
        await it.until("Load a task")
        await it.press("escape", "f1")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen))
        await it.until(lambda: bool(it.app.screen.query(Lines)))
        listed = "\n".join(line.text for line in it.app.screen.query_one(Lines)._lines)
        assert "Load a preset" in listed
        assert "Jump to a pane" not in listed

    drive(story)


@pytest.mark.parametrize(
    ("language", "words"), [("en", "Put letters on the panes"), ("zh_CN", "在各窗格上显示字母")]
)
def test_help_and_palette_offer_it_in_the_language_of_the_console(
    language: str, words: str
) -> None:
    """What is not listed is not found."""
    a_run()
    name = {"en": "Jump to a pane", "zh_CN": "跳到窗格"}[language]

    async def story(it: Driven) -> None:
        await it.press("enter")
        await it.until("train_loss")
        await it.press("question_mark")
        await it.until(lambda: bool(it.app.screen.query(Lines)))
        listed = "\n".join(line.text for line in it.app.screen.query_one(Lines)._lines)
        assert words[:5] in listed
        assert "screen.jump" in listed
        await it.press("escape", "ctrl+p")
        await it.type("pan" if language == "en" else "窗格")
        await it.until(f"{name}  (^o)")

    drive(story, (140, 40), Settings(link="fast", language=language))


def test_the_key_can_be_set() -> None:
    """In tmux ctrl+o may be somebody's prefix."""
    a_run()

    async def story(it: Driven) -> None:
        await open_run(it)
        await it.press("f4")
        await it.until(lambda: isinstance(it.app.screen, JumpScreen))

    drive(story, settings=Settings(link="fast", language="en", keys={"screen.jump": "f4"}))


def test_compare_has_letters_too() -> None:
    """Its table and its curves are two panes."""
    for name in ("20260806-070640-a", "20260806-070641-b"):
        make_run(name, exit=exit_record(), metrics=[metric(step) for step in range(1, 60)])

    async def story(it: Driven) -> None:
        await it.press("space", "down", "space", "7")
        await it.until(lambda: "CompareTable" in {type(n).__name__ for n in it.app.screen.query()})
        await it.until("train_loss")
        await lettered(it)
        await it.press("c")
        await it.until(lambda: pane_of(it) == "chart")
        await lettered(it)
        await it.press("t")
        await it.until(lambda: type(it.app.screen.focused).__name__ == "CompareTable")

    drive(story, (140, 40))
