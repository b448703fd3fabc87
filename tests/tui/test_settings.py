"""The console's settings: kept beside a person's own, wrong ones told and passed over."""

import pytest

from sdtui import language
from sdtui.settings import Settings, load_settings, save_settings, settings_file


def write(text: str) -> None:
    settings_file().parent.mkdir(parents=True, exist_ok=True)
    settings_file().write_text(text, encoding="utf-8")


def test_saving_keeps_comments_and_the_other_tables() -> None:
    """The file is a person's own: it also holds their defaults of every task."""
    write('# mine\n[defaults.gpu]\ncount = 2  # two\n\n[console]\ntheme = "nord" # blue\n')

    save_settings(Settings(theme="dracula", keys={"run.stop": "S"}, language="zh_CN"))

    text = settings_file().read_text("utf-8")
    assert "# mine" in text
    assert "count = 2  # two" in text
    assert load_settings() == Settings(theme="dracula", keys={"run.stop": "S"}, language="zh_CN")


def test_what_is_default_is_not_written() -> None:
    """A later version's better default must reach those who never chose."""
    save_settings(Settings(theme="dracula"))
    save_settings(Settings())

    assert "theme" not in settings_file().read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[console]\nlink = 'warp'\ntheme = 'nord'", "console.link"),
        ("[console]\nmouse = 'yes'\ntheme = 'nord'", "console.mouse"),
        ("[console]\nsmothing = 1\ntheme = 'nord'", "no such setting"),
        ("[console]\nkeys = {a = 1}\ntheme = 'nord'", "console.keys"),
        ("[console]\nread_only = true\ntheme = 'nord'", "no such setting"),
    ],
)
def test_a_wrong_setting_costs_itself_alone(text: str, told: str) -> None:
    """A console that will not open over a typing error is worse than the typing error."""
    write(text)

    settings = load_settings()

    assert settings.theme == "nord"
    assert len(settings.problems) == 1
    assert told in settings.problems[0]


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
