"""The palette: everything by name, in the language of the console or not."""

from dataclasses import fields

import pytest

from sdtui.app import SdTui
from sdtui.live.log_levels import Level
from sdtui.screens.palette import Commands, Entry
from sdtui.settings import Settings
from sdtui.widgets.gpu_pane import GpuBody
from sdtui.widgets.log_choices import choices_of
from support.console import Driven, drive
from support.fake_runs import exit_record, make_run

CHINESE = Settings(link="fast", language="zh_CN")


async def _found(it: Driven, query: str) -> list[str]:
    """Return what the palette offers for ``query``, best first."""
    hits = [hit async for hit in Commands(it.app.screen).search(query)]
    return [str(hit.text) for hit in sorted(hits, key=lambda hit: -hit.score)]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("delete", "删除"), ("tasks.resume", "恢复"), ("theme nord", "主题：nord"),
        ("language: english", "语言：English"), ("language auto", "语言：随环境"),
        ("link slow", "连接：慢"), ("mouse", "鼠标：用于 sdtui"), ("frames", "传输：只发送变化"),
        ("whole widgets", "传输：按 Textual"), ("go.gpu", "GPU"), ("open shapes", "打开 shapes"),
        ("into the form", "复制"), ("主题 nord", "主题：nord"),
    ],
)  # fmt: skip
def test_a_chinese_palette_is_found_in_english_and_by_id(typed: str, words: str) -> None:
    """Whoever knows a command from the documentation types its English name."""
    make_run("20260801-000000-shapes", exit=exit_record("stopped"))

    async def story(it: Driven) -> None:
        await it.until("■ shapes")
        found = await _found(it, typed)
        assert any(words in each for each in found[:4]), found

    drive(story, (100, 30), CHINESE)


def _named(app: SdTui, english: str) -> Entry:
    return next(entry for entry in Commands(app.screen)._all() if entry.english == english)


def test_every_setting_has_a_command_that_sets_it() -> None:
    """What only the settings box can do is done with ten keys instead of one line."""

    async def story(it: Driven) -> None:
        settings = it.app.settings
        wanted = [
            ("Link: slow, once a second", "link", "slow"),
            ("Mouse: is the terminal's, to select text", "mouse", False),
            ("Frames: send whole widgets, as Textual does", "frames", "stock"),
            ("Theme: nord", "theme", "nord"),
            ("Bell: is silent", "bell", False),
            ("Language: 简体中文", "language", "zh_CN"),
        ]
        chosen = {each.name for each in fields(Settings)} - {"read_only", "problems"}
        assert {key for _english, key, _value in wanted} == chosen - {"keys", "chart"}
        for english, key, value in wanted:
            assert getattr(settings, key) != value
            _named(it.app, english).act()
            assert getattr(it.app.settings, key) == value
        assert {f"Theme: {name}" for name in it.app.available_themes} <= {
            entry.english for entry in Commands(it.app.screen)._all()
        }

    drive(story)


def test_levels_and_windows_are_offered_where_there_are_some() -> None:
    """``l`` four times over a slow link is four screens sent; a name is one."""
    make_run("20260801-000000-shapes", exit=exit_record(), log=b"INFO: a\nERROR: b\n")

    async def story(it: Driven) -> None:
        english = {entry.english for entry in Commands(it.app.screen)._all()}
        assert not {"Log: errors", "GPU window: 1h"} & english
        it.app.open_run("20260801-000000-shapes", "log")
        await it.until("ERROR: b")
        await it.press("ctrl+p")
        await it.type("log: errors")
        await it.until("Log: errors")
        await it.press("enter")
        await it.until(lambda: "INFO: a" not in it.text())
        assert choices_of(it.app).level == Level.ERROR
        it.app.go("gpu")
        await it.until(lambda: bool(it.app.screen.query(GpuBody)) and it.app.screen.whole)
        await it.pilot.pause()
        _named(it.app, "GPU window: 1h").act()
        assert it.app.screen.query_one(GpuBody).look.window == "1h"

    drive(story, (100, 30))
