"""The console's settings: kept beside a person's own, wrong ones told and passed over."""

import errno
import os
import threading
from pathlib import Path

import pytest

from sdtui import language
from sdtui.app import SdTui
from sdtui.settings import Keeper, Settings, load_settings, save_changes, settings_file
from support.console import Driven, drive


def write(text: str) -> None:
    settings_file().parent.mkdir(parents=True, exist_ok=True)
    settings_file().write_text(text, encoding="utf-8")


def test_saving_keeps_comments_and_the_other_tables() -> None:
    """The file is a person's own: it also holds their defaults of every task."""
    write('# mine\n[defaults.gpu]\ncount = 2  # two\n\n[console]\ntheme = "nord" # blue\n')

    save_changes(settings_file(), {"theme": "dracula", "keys": {"run.stop": "S"}})

    text = settings_file().read_text("utf-8")
    assert "# mine" in text
    assert "count = 2  # two" in text
    assert load_settings() == Settings(theme="dracula", keys={"run.stop": "S"})


def test_what_is_default_is_not_written() -> None:
    """A later version's better default must reach those who never chose."""
    save_changes(settings_file(), {"theme": "dracula"})
    save_changes(settings_file(), {"theme": Settings().theme})

    assert "theme" not in settings_file().read_text("utf-8")


def test_two_consoles_do_not_undo_each_others_settings() -> None:
    """Each wrote all it knew: a smoothing changed here took back the language chosen there."""
    other = Settings(link="fast", language="en")

    async def story(it: Driven) -> None:
        write('[console]\nof_a_later_version = "x"\n')
        save_changes(settings_file(), {"language": "zh_CN", "keys": {"run.stop": "S"}})
        it.app.change_settings(chart={"log": True})
        await it.press("M")
        assert not it.app.settings.mouse

    drive(story, settings=other)

    text = settings_file().read_text("utf-8")
    assert "of_a_later_version" in text
    kept = load_settings()
    assert (kept.language, kept.keys, kept.chart) == ("zh_CN", {"run.stop": "S"}, {"log": True})
    assert not kept.mouse
    assert kept.link == "auto"  # nobody changed it


def test_of_many_changes_at_once_the_last_one_is_kept() -> None:
    """Written by a thread each, an older value could come last."""
    keeper = Keeper(told=lambda error: pytest.fail(str(error)))
    for number in range(200):
        keeper.keep({"theme": f"theme-{number}"})
    keeper.wait(20)

    assert load_settings().theme == "theme-199"


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    """Many keep their settings in a folder of their own, and link to them."""
    own = tmp_path / "own.toml"
    own.write_text("# mine\n", encoding="utf-8")
    settings_file().parent.mkdir(parents=True)
    settings_file().symlink_to(own)

    save_changes(settings_file(), {"theme": "nord"})

    assert settings_file().is_symlink()
    assert "nord" in own.read_text("utf-8")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_nothing_is_told_once_and_the_console_goes_on(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no reason to lose sight of a run, nor to be told so at every key."""
    boxes: list[str] = []

    def full(_path: Path, _content: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("sdtui.settings.write_bytes", full)
    monkeypatch.setattr(SdTui, "tell", lambda _app, error: boxes.append(str(error)))

    async def story(it: Driven) -> None:
        it.app.change_settings(theme="nord")
        await it.until(lambda: len(boxes) == 1)
        it.app.change_settings(theme="dracula")
        it.app.keeper.wait(5)
        await it.press("1")
        assert it.app.current_theme.name == "dracula"

    drive(story)

    assert len(boxes) == 1
    assert os.strerror(number) in boxes[0]


def test_a_slow_disk_holds_up_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home on a network may take seconds to write a line."""
    gate, went_on = threading.Event(), []
    monkeypatch.setattr(
        "sdtui.settings.write_bytes", lambda _path, _content: went_on.append(gate.wait(60))
    )

    async def story(it: Driven) -> None:
        it.app.change_settings(theme="nord")
        await it.press("2")
        await it.until(lambda: it.app.current_mode == "new")
        assert went_on == []
        gate.set()

    drive(story)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[console]\nlink = 'warp'\ntheme = 'nord'", "console.link"),
        ("[console]\nmouse = 'yes'\ntheme = 'nord'", "console.mouse"),
        ("[console]\nsmothing = 1\ntheme = 'nord'", "no such setting"),
        ("[console]\nkeys = 1\ntheme = 'nord'", "console.keys"),
        ("[console]\nread_only = true\ntheme = 'nord'", "no such setting"),
    ],
)
def test_a_wrong_setting_costs_itself_alone(text: str, told: str) -> None:
    """A console that will not open over a typing error is worse than the typing error."""
    write(text)

    settings = load_settings()

    assert settings.theme == "nord"
    assert len(settings.problems) == 1
    assert told in str(settings.problems[0])


@pytest.mark.parametrize("text", ["[console", "console = 3", "\x00"])
def test_a_damaged_file_is_told_and_left_alone(text: str) -> None:
    """Overwriting it would lose a person's defaults."""
    write(text)

    assert load_settings().problems
    assert settings_file().read_text("utf-8") == text


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_TW.UTF-8"}, "zh_CN"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LANGUAGE": "de:zh_CN:en"}, "zh_CN"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_the_language_is_the_one_the_shell_asks_for(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever set it once, for every program, must not set it again for this one."""
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert language.from_environment() == expected
