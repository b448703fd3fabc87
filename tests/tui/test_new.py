"""The New screen, driven by keys: what is loaded, kept, checked and started."""

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from sdcore.runs.paths import RunDir
from sdcore.task.presets import load_preset
from sdcore.task.shipped import shipped_folder
from sdcore.task.spec import TaskSpec
from sdcore.task.writing import to_table
from sdtui.form.desk import desk_of
from sdtui.form.drafts import draft_file
from sdtui.screens.new_boxes import Findings
from sdtui.settings import Settings
from support.console import Driven, drive
from support.fake_runs import sdtui
from support.forms import COMMAND, opened, opened_runs, written
from support.real_runs import until

LOOK_ONLY = Settings(link="fast", language="en", read_only=True)


def _text(path: Path) -> str:
    return path.read_text()


def test_the_demo_is_two_keys_from_the_empty_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer who must fill in a form first never sees the program work."""

    async def story(driven: Driven) -> None:
        seen = opened_runs(driven, monkeypatch)
        driven.app.edit_task("demo")
        await driven.until("Description")
        await driven.press("ctrl+r")
        await driven.until(lambda: bool(seen), 60)
        assert desk_of(driven.app).typed is False
        await driven.until(lambda: not draft_file().exists())
        id_ = seen[0]
        sdtui("stop", id_, "--kill")
        run = RunDir(Path(os.environ["SDTUI_HOME"], "runs", id_))
        ran = TaskSpec.model_validate(load_preset(run.task).task.model_dump())
        wanted = load_preset("demo").task
        assert ran.mounts == wanted.mounts
        assert ran.effective_train() == wanted.effective_train()

    drive(story)


def test_what_is_shown_is_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command on the screen is a promise; a run that differs from it breaks all trust."""

    async def story(driven: Driven) -> None:
        seen = opened_runs(driven, monkeypatch)
        await opened(driven, written(tmp_path))
        await driven.press("enter")
        await driven.type("-one")
        await driven.press("ctrl+r")
        await driven.until(lambda: bool(seen), 60)
        run = RunDir(Path(os.environ["SDTUI_HOME"], "runs", seen[0]))
        plan = json.loads(run.launch.read_text())
        shown = desk_of(driven.app).launch()
        assert shown is not None
        assert plan["argv"] == shown.argv  # type: ignore[union-attr]
        assert run.name == "short-one"
        sdtui("stop", run.id, "--kill")

    drive(story)


def test_a_lost_link_loses_nothing(tmp_path: Path) -> None:
    """A form filled in for ten minutes must survive the console's death at any key."""

    async def first(driven: Driven) -> None:
        await opened(driven, "demo")
        await driven.press("f6", "f6", "f6", "f6", "enter")
        await driven.type("5x")
        await driven.until(lambda: draft_file().exists() and "485x" in draft_file().read_text())
        assert stat.S_IMODE(draft_file().stat().st_mode) == 0o600

    async def second(driven: Driven) -> None:
        driven.app.edit_task(None)
        await driven.until("restored; F7 to start empty")
        assert desk_of(driven.app).raw("env.resolution") == "485x"
        await driven.press("f7", "y")
        await driven.until("a new task")
        assert desk_of(driven.app).raw("env.resolution") == ""

    drive(first)
    drive(second)


def test_looking_only_starts_and_saves_nothing(tmp_path: Path) -> None:
    """Who opened the console with --view for a colleague must not start a run by a slip."""

    async def story(driven: Driven) -> None:
        await opened(driven, written(tmp_path))
        for key in ("ctrl+r", "ctrl+s"):
            await driven.press(key)
            await driven.until("--view")
            await driven.press("escape")

    drive(story, settings=LOOK_ONLY)
    assert not Path(os.environ["SDTUI_HOME"], "runs").exists()


def test_an_error_stops_the_start_and_a_warning_asks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings nobody must confirm are not read; errors one can overrule are no errors."""

    async def story(driven: Driven) -> None:
        seen = opened_runs(driven, monkeypatch)
        await opened(driven, written(tmp_path, COMMAND.replace("count = 0", "count = 8")))
        await driven.press("ctrl+r")
        await driven.until("the task wants 8 GPUs", 30)
        assert isinstance(driven.app.screen, Findings)
        await driven.press("y")  # does nothing
        await driven.press("escape")
        desk_of(driven.app).edit("gpu.count", "0")
        desk_of(driven.app).edit("image", "colossalai 0.3.4")
        await driven.press("ctrl+r")
        await driven.until("Start all the same?", 30)
        assert "the image 'colossalai 0.3.4' is not used" in driven.text()
        await driven.press("y")
        await driven.until(lambda: bool(seen), 30)
        sdtui("stop", seen[0], "--kill")

    drive(story)


def test_a_copied_run_gets_a_fresh_name_and_keeps_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one name cannot be told apart on the command line."""
    preset = written(tmp_path, COMMAND + '[env]\nA = "1"\n')

    async def story(driven: Driven) -> None:
        driven.app.edit_task(preset, fresh_name=True)
        await driven.until("short-2")
        task = desk_of(driven.app).task
        assert task is not None
        before = load_preset(preset).task
        assert to_table(task) == to_table(before) | {"name": "short-2"}

    drive(story)


def test_a_saved_preset_keeps_comments_and_asks_before_it_replaces_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People keep their notes in presets; a form that drops them is not used twice."""
    own = Path(written(tmp_path, "# my notes\n" + COMMAND))
    other = tmp_path / "other.toml"
    other.write_text("# another\n" + COMMAND)

    async def story(driven: Driven) -> None:
        await opened(driven, str(own))
        desk = desk_of(driven.app)
        desk.edit("description", "words")
        await driven.press("ctrl+s", "enter")
        await driven.until("saved")
        assert _text(own).startswith("# my notes\n")
        assert load_preset(own).task.description == "words"
        await driven.press("ctrl+s")
        driven.app.screen.query_one(Input).value = str(other)
        await driven.press("enter")
        await driven.until("Replace")
        await driven.press("n")
        assert "words" not in other.read_text()
        await driven.press("ctrl+s")
        driven.app.screen.query_one(Input).value = str(shipped_folder() / "demo.toml")
        await driven.press("enter", "y")
        await driven.until("is not saved")

    before = (shipped_folder() / "demo.toml").read_text()
    drive(story)
    assert (shipped_folder() / "demo.toml").read_text() == before


def test_the_form_opens_before_its_helper_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of imports and of reading data must not stand before the first field."""
    monkeypatch.setattr("sdtui.form.checker.Checker.ask", lambda *_asked: 1)  # it never does

    async def story(driven: Driven) -> None:
        driven.app.edit_task("demo")
        await driven.until("Description")
        assert not desk_of(driven.app).look.known

    drive(story)


def test_other_parts_of_the_console_are_a_key_away() -> None:
    """Digits must type in a field, and change screens out of it."""

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
        await driven.press("enter", "1")
        assert desk_of(driven.app).raw("name") == "demo1"
        await driven.press("escape", "1")
        assert driven.app.current_mode == "tasks"
        await driven.press("2")
        assert driven.app.current_mode == "new"
        await driven.until("demo1")

    drive(story)


def test_nothing_is_left_of_the_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper of a hundred megabytes for each console ever opened fills a login node."""
    begun: list[Any] = []
    popen = subprocess.Popen

    def noted(*args: Any, **more: Any) -> Any:
        begun.append(popen(*args, **more))
        return begun[-1]

    monkeypatch.setattr("sdtui.form.checker.subprocess.Popen", noted)

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
        await driven.until(lambda: desk_of(driven.app).look.known, 30)
        await driven.press("escape", "1")

    drive(story)
    assert len(begun) == 1
    until(lambda: begun[0].poll() is not None, 10)


def test_the_form_speaks_another_language_at_once_and_loses_nothing() -> None:
    """A rebuilt screen must show what was typed, not what was loaded."""

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
        await driven.press("enter", "x", "f6", "enter")
        await driven.until("/mnt/model")
        driven.app.change_settings(language="zh_CN")
        await driven.until("/mnt/model")
        await driven.press("shift+f6")
        await driven.until("demox")

    drive(story)


def test_the_command_is_copied_whole_and_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied is pasted into chats; a token in it is a token given away."""
    copied: list[str] = []

    def copy(_app: object, text: str, _what: str) -> str:
        copied.append(text)
        return "copied"

    monkeypatch.setattr("sdtui.copying.copy", copy)

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
        desk_of(driven.app).edit("env.HF_TOKEN", "hf_geheim")
        await driven.press("enter", "ctrl+y")
        (text,) = copied
        assert text.startswith("cd ")
        assert "-m sdcore.train" in text
        assert "HF_TOKEN='***'" in text
        assert "hf_geheim" not in text

    drive(story)
