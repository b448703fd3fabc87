"""What is copied arrives somewhere, and the words say where."""

import stat
from pathlib import Path
from typing import Any, cast

import pytest
from textual.app import App

from sdcore.errors import UsageError
from sdtui.copying import ELSEWHERE, IN_MULTIPLEXER, copied_file, copy
from support.console import Driven, drive


class Clipboard:
    """Stands for the app: takes what is sent to the terminal."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def copy_to_clipboard(self, text: str) -> None:
        self.sent.append(text)


@pytest.fixture
def clipboard(monkeypatch: pytest.MonkeyPatch) -> Clipboard:
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    return Clipboard()


def copied(clipboard: Clipboard, text: str) -> str:
    return copy(cast("App[Any]", clipboard), text, "3 lines")


def test_a_copy_is_always_kept_in_a_file_for_its_owner_alone(clipboard: Clipboard) -> None:
    """Whether a terminal obeys OSC 52 cannot be known: without the file the text may be lost."""
    words = copied(clipboard, "图 a\nb")

    assert clipboard.sent == ["图 a\nb"]
    assert copied_file().read_text("utf-8") == "图 a\nb\n"
    assert stat.S_IMODE(copied_file().stat().st_mode) == 0o600
    assert words == f"3 lines copied; also in {copied_file()}"


def test_what_is_too_much_for_a_clipboard_is_not_sent(
    clipboard: Clipboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that stops in the middle of the sequence shows the rest on the screen."""
    assert "70" in copied(clipboard, "x" * (ELSEWHERE + 1))
    monkeypatch.setenv("STY", "1.pts")
    assert str(copied_file()) in copied(clipboard, "x" * (IN_MULTIPLEXER + 1))
    assert clipboard.sent == []
    assert copied_file().stat().st_size == IN_MULTIPLEXER + 2


def test_within_tmux_the_words_say_what_to_set(
    clipboard: Clipboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tmux drops the sequence unless it is told to pass it on, and says nothing."""
    monkeypatch.setenv("TMUX", "/tmp/x")
    assert "set -g set-clipboard on" in copied(clipboard, "a")


def test_a_folder_that_takes_no_file_is_told_with_its_remedy(
    clipboard: Clipboard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A full disk is the moment at which a log is copied."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("SDTUI_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="cannot be written"):
        copied(clipboard, "a")


def test_an_error_is_copied_like_everything_else() -> None:
    """The one text a person wants to hand on must not depend on a terminal that obeys."""
    error = UsageError("it failed", cause="the disk is full", remedy="make room")

    async def story(it: Driven) -> None:
        it.app.tell(error)
        await it.until("the disk is full")
        await it.press("y")
        await it.told(f"the error copied; also in {copied_file()}")

    drive(story)
    assert copied_file().read_text("utf-8") == f"{error}\n"


def test_an_error_that_cannot_be_kept_is_told_beside_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A second box would hide the first error, and a third one the second."""
    (tmp_path / "file").touch()

    async def story(it: Driven) -> None:
        it.app.tell(UsageError("it failed", cause="the disk is full", remedy="make room"))
        await it.until("the disk is full")
        monkeypatch.setenv("SDTUI_HOME", str(tmp_path / "file"))
        await it.press("y")
        await it.told("cannot be written")
        await it.until("the disk is full")

    drive(story)
