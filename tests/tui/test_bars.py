"""The key bar says what the keys do now, not what they did a moment ago."""

import re

import pytest

from sdtui.app import SdTui
from sdtui.settings import Settings
from sdtui.widgets.bars import KeyBar, TopBar
from sdtui.widgets.gpu_pane import GpuBody
from support.console import SIZES, Driven, drive
from support.fake_runs import exit_record, make_run, metric


def test_the_keys_follow_the_focus_at_once_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """For two seconds a key would do something else than the bar says; ``s`` stops a run."""
    run = make_run(exit=exit_record(), metrics=[metric(step) for step in range(1, 9)])
    monkeypatch.setattr(SdTui, "_draw_bars", lambda _app: None)  # what the clock brings
    drawn: list[str] = []
    key_bar, top_bar = KeyBar.draw, TopBar.draw

    def keys(bar: KeyBar) -> None:
        drawn.append("keys")
        key_bar(bar)

    def top(bar: TopBar, here: str, link: tuple[str, str]) -> None:
        drawn.append("top")
        top_bar(bar, here, link)

    async def story(it: Driven) -> None:
        it.app.open_run(run.id)
        await it.until("Maximise")
        await it.pilot.pause(0.5)
        screen = it.app.screen
        assert not isinstance(screen.focused, GpuBody)
        assert "w Window" not in it.lines()[-1]
        monkeypatch.setattr(KeyBar, "draw", keys)
        monkeypatch.setattr(TopBar, "draw", top)
        screen.query_one(GpuBody).focus()
        await it.until(lambda: "w Window" in it.lines()[-1])
        assert set(drawn) == {"keys"}
        await it.press("f6")
        await it.until(lambda: "w Window" not in it.lines()[-1])

    drive(story, (140, 40))


@pytest.mark.parametrize("language", ["en", "zh_CN"])
@pytest.mark.parametrize("size", SIZES)
def test_what_a_slow_link_carries_is_shown_at_every_size(
    size: tuple[int, int], language: str
) -> None:
    """At 80 columns, where links are slowest, the figure was the first to go."""

    async def story(it: Driven) -> None:
        await it.until(lambda: "0.0 KB/s" in it.lines()[0])
        assert re.search(r"\d\d:\d\d ?$", it.lines()[0])

    drive(story, size, Settings(link="slow", language=language))


def test_no_name_is_cut_in_half_on_the_smallest_terminal() -> None:
    """``Trainin2 problems`` and a bare 7 told neither where one was nor what was there."""

    async def story(it: Driven) -> None:
        for key, name in (("1", "Tasks"), ("2", "New"), ("7", "Compare")):
            await it.press(key)
            await it.until(lambda name=name: f" {name} " in it.lines()[0] + " ")  # type: ignore[misc]
            assert re.findall(r"\b\d\b", it.lines()[0])[:7] == list("1234567")
        await it.press("2")
        await it.until("Basics")
        await it.press("f6")
        for word in re.findall(r"[A-Z][a-z+]+", it.lines()[1]):
            assert word in {"Basics", "Mounts", "Image+", "Command", "Env", "Training",
                            "Cluster", "Review"}  # fmt: skip

    drive(story, (60, 16))


def test_a_click_on_a_screens_name_or_on_a_key_does_it() -> None:
    """Whoever has a mouse points at what they read; nothing else of the bar may answer."""

    async def story(it: Driven) -> None:
        await it.pilot.click(offset=(it.lines()[0].index("2 New"), 0))
        await it.until(lambda: it.app.current_mode == "new")
        await it.pilot.click(offset=(2, 0))  # the program's name
        await it.pilot.pause()
        assert it.app.current_mode == "new"
        await it.pilot.click(offset=(it.lines()[-1].index("? Help"), len(it.lines()) - 1))
        await it.until("esc close")

    drive(story)


def test_a_remapped_key_keeps_its_place() -> None:
    """At the end of the bar it is cut off first: who remaps a key would not see it again."""
    make_run(exit=exit_record("stopped"), metrics=[metric(1)])
    bars: list[str] = []
    first = Settings(link="fast", language="en")

    async def story(it: Driven) -> None:
        await it.until("space Mark" if it.app.settings == first else "x Mark")
        bars.append(it.lines()[-1])

    drive(story, (140, 24), first)
    moved = {"tasks.resume": "f9", "app.help": "f5", "table.mark": "x"}
    drive(story, (140, 24), Settings(link="fast", language="en", keys=moved))

    plain, remapped = (re.findall(r"[A-Z]\w+(?: [a-z]+)?", bar) for bar in bars)
    assert remapped == plain
    assert "f9 Resume" in bars[1]


@pytest.mark.parametrize("mode", ["tasks", "run", "new"])
def test_a_console_that_only_looks_offers_nothing_else(mode: str) -> None:
    """A key that is offered and then refused is a promise broken."""
    run = make_run(exit=exit_record("stopped"), metrics=[metric(1)])

    async def story(it: Driven) -> None:
        it.app.open_run(run.id)
        it.app.go(mode)
        there = {"tasks": "New", "run": "Maximise", "new": "Check"}[mode]
        await it.until(lambda: there in "".join(it.lines()[-1:]))
        words = set(it.lines()[-1].split())
        assert not words & {"Resume", "Stop", "Delete", "Start", "Save", "Draw"}
        await it.press("ctrl+p")
        await it.type("resume")
        await it.until("nothing of this name")
        await it.press("escape")
        if mode != "new":
            await it.press("r")
            await it.told("only looks")

    drive(story, (140, 24), Settings(link="fast", language="en", read_only=True))


def test_while_a_field_is_typed_into_the_bar_offers_what_does_not_type() -> None:
    """``?`` was offered as help and became a letter of the filter."""
    make_run("20260801-000000-shapes", exit=exit_record(), log=b"a line\n")

    def offered(it: Driven) -> bool:
        bar = it.lines()[-1]
        return "F1 Help" in bar and not {"/", "?", "q", "n", "s"} & set(bar.split())

    async def story(it: Driven) -> None:
        await it.until("shapes")
        await it.press("slash")
        await it.until(lambda: offered(it))
        assert it.lines()[-1].startswith(" enter Done  esc Back")
        await it.press("f1")
        await it.until("esc close")
        await it.press("escape", "s", "enter")
        await it.until("? Help")
        it.app.open_run("20260801-000000-shapes", "log")
        await it.until("a line")
        await it.press("slash")
        await it.until(lambda: offered(it))
        assert "esc Leave the search" in it.lines()[-1]
        assert "enter Done" in it.lines()[-1]
        it.app.go("new")
        await it.until("Description")
        await it.press("down")
        await it.until(lambda: "F1 Help" in it.lines()[-1])
        assert "^r Start" in it.lines()[-1]  # the form's own keys stay

    drive(story, (100, 30))


@pytest.mark.parametrize("size", [(60, 16), (80, 24)])
def test_the_settings_say_how_to_leave_them(size: tuple[int, int]) -> None:
    """A box without a way out keeps a person who does not guess Esc."""

    async def story(it: Driven) -> None:
        await it.press("comma")
        await it.until("esc close")
        await it.press("escape")
        assert "esc close" not in it.text()

    drive(story, size)
