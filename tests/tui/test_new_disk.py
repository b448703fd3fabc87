"""The form on slow, full and dead disks: the keys are answered, and what happened is told."""

import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from sdtui.form.checker import Checker
from sdtui.form.desk import desk_of
from sdtui.form.drafts import draft_file
from sdtui.screens.choose_preset import ChoosePreset
from support.commands import on_small_disk
from support.console import Driven, drive
from support.forms import opened, written


class Stuck:
    """A call that hangs until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on, self._patch = threading.Event(), threading.Event(), monkeypatch

    def hang(self, what: str) -> None:
        """Have ``what``, of which the name is given, hang from now on."""
        module, _dot, name = what.rpartition(".")
        call = getattr(importlib.import_module(module), name)

        def slow(*arguments: Any, **more: Any) -> Any:
            self.begun.set()
            assert self.go_on.wait(120), "the test forgot it"
            return call(*arguments, **more)

        self._patch.setattr(what, slow)


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    made = Stuck(monkeypatch)
    yield made
    made.go_on.set()


async def _answers(driven: Driven) -> None:
    """Type into the form, and see it there at once."""
    before = str(desk_of(driven.app).raw("description"))
    await driven.type("ab")
    await driven.until(lambda: desk_of(driven.app).raw("description") == f"{before}ab")


async def _in_description(driven: Driven) -> None:
    await opened(driven, "demo")
    await driven.press("enter", "down")
    await driven.until(lambda: getattr(driven.app.focused, "key", "") == "description")


def test_keys_are_answered_while_a_preset_is_read(tmp_path: Path, stuck: Stuck) -> None:
    """A preset on a network mount that is away must not take the console with it."""
    preset = written(tmp_path)

    async def story(driven: Driven) -> None:
        await _in_description(driven)
        desk = desk_of(driven.app)
        stuck.hang("sdtui.form.desk.load_preset")
        driven.app.edit_task(preset)
        await driven.until(stuck.begun.is_set)
        await _answers(driven)
        await driven.told("reading ")  # who waits is told for what
        stuck.go_on.set()
        await driven.until("Replace what stands in the form?")  # it was typed meanwhile
        assert desk.raw("name") == "demo"
        await driven.press("y")
        await driven.until(lambda: desk.raw("name") == "short")

    drive(story)


def test_a_preset_that_cannot_be_read_is_told_with_cause_and_next_step(tmp_path: Path) -> None:
    """An error that is met in a thread must reach the person all the same."""

    async def story(driven: Driven) -> None:
        await _in_description(driven)
        for path in (f"{tmp_path}/none.toml", "~nobody-of-that-name/a.toml"):
            driven.app.edit_task(path)
            await driven.until("cannot be read")
            assert "check the path" in driven.text()
            await driven.press("escape")

    drive(story)


def test_keys_are_answered_while_the_dialog_reads_the_presets(stuck: Stuck) -> None:
    """What is typed into the dialog counts, also before there is anything to choose from."""

    async def story(driven: Driven) -> None:
        await _in_description(driven)
        stuck.hang("sdtui.screens.choose_preset.suited")
        await driven.press("ctrl+o")
        await driven.until(stuck.begun.is_set)
        assert isinstance(driven.app.screen, ChoosePreset)
        await driven.type("pokemon")
        await driven.press("enter")
        assert driven.app.screen.query_one(Input).value == "pokemon"
        assert isinstance(driven.app.screen, ChoosePreset)  # it waits
        stuck.go_on.set()
        await driven.until(lambda: desk_of(driven.app).raw("name") == "pokemon")

    drive(story)


def test_keys_are_answered_while_a_preset_is_saved(tmp_path: Path, stuck: Stuck) -> None:
    """An fsync on a busy file server takes minutes."""

    async def story(driven: Driven) -> None:
        await _in_description(driven)
        stuck.hang("sdtui.screens.new_boxes.write_bytes")
        await driven.press("ctrl+s")
        driven.app.screen.query_one(Input).value = str(tmp_path / "new.toml")
        await driven.press("enter")
        await driven.until(stuck.begun.is_set)
        await _answers(driven)
        stuck.go_on.set()
        await driven.until((tmp_path / "new.toml").exists)

    drive(story)


def test_a_draft_on_a_dead_disk_holds_neither_the_keys_nor_the_way_out(stuck: Stuck) -> None:
    """One thread waits for the disk, however much is typed, and leaving waits a moment at most."""

    async def story(driven: Driven) -> None:
        await _in_description(driven)
        stuck.hang("sdtui.form.drafts.write_bytes")
        for _pause in range(3):
            await _answers(driven)
            await driven.pilot.pause(0.7)
        assert stuck.begun.is_set()
        assert sum(t.name == "sdtui-aside" for t in threading.enumerate()) == 1

    began = time.monotonic()
    drive(story)
    assert time.monotonic() - began < 90, "the disk hangs for longer"


def test_the_form_opens_when_the_draft_has_come(stuck: Stuck) -> None:
    """A home on a slow disk holds back the form, and nothing else of the console."""

    async def story(driven: Driven) -> None:
        stuck.hang("sdtui.form.desk.read_draft")
        driven.app.edit_task(None)
        await driven.until(stuck.begun.is_set)
        await driven.press("f6", "ctrl+r", "slash", "ctrl+s")  # of a form that is not there yet
        assert not driven.app.screen.query("Section")
        await driven.press("1")
        assert driven.app.current_mode == "tasks"
        await driven.press("2")
        stuck.go_on.set()
        await driven.until("Description")

    drive(story)


_FULL = """
import sys, time
from pathlib import Path
from sdtui.form.desk import desk_of
from sdtui.form.drafts import draft_file
from support.console import Driven, drive
from support.forms import opened

async def story(driven):
    said = []
    driven.app.notify = lambda words, **_more: said.append(words)
    await opened(driven, "demo")
    fill = Path(sys.argv[1], "fill")
    fill.parent.mkdir(exist_ok=True)
    with fill.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    await driven.press("enter", "down")
    for n in range(3):
        await driven.type("ab")
        await driven.pilot.pause(0.9)
    await driven.until(lambda: said)
    assert len(said) == 1, said
    assert "the draft cannot be kept: No space left on device" in said[0]
    assert "at the next change" in said[0]
    assert desk_of(driven.app).raw("description").endswith("ababab")
    assert not draft_file().exists()
    fill.unlink()
    await driven.type("c")
    await driven.until(lambda: draft_file().exists())
    assert "abababc" in draft_file().read_text()
    assert [p.name for p in draft_file().parent.iterdir() if p.name.startswith(".")] == []

drive(story)
"""


def test_a_full_disk_is_told_once_and_the_draft_is_tried_again(tmp_path: Path) -> None:
    """Told at every pause it hides the form; not tried again, it loses what is typed later."""
    home = tmp_path / "small"
    scene = subprocess.run(
        [*on_small_disk(home, "size=64k"), sys.executable, "-c", _FULL, str(home)],
        env={**os.environ, "SDTUI_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    assert scene.returncode == 0, scene.stderr[-3000:]


def test_a_bug_in_the_thread_of_the_helper_ends_the_console(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its thread would end in silence, and the form say for ever that it is checking."""

    def bug(_self: Checker, _request: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Checker, "_converse", bug)

    async def story(driven: Driven) -> None:
        driven.app.edit_task("demo")
        await driven.until(lambda: driven.app.return_code == 1)

    with pytest.raises(ZeroDivisionError):
        drive(story)


def test_a_helper_that_cannot_be_started_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a login node that is full of processes the form must not say that it is checking."""

    def refuse(*_arguments: Any, **_more: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("sdtui.form.checker.subprocess.Popen", refuse)

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
        await driven.told("cannot be started: Resource temporarily unavailable")
        await driven.press("ctrl+r")
        await driven.until("the task could not be checked")
        assert not draft_file().exists()

    drive(story)
