"""The New screen, driven by keys: what is typed, kept, checked and started."""

import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.widgets import Input

from sdcore.runs.paths import RunDir
from sdcore.task.presets import load_preset, shipped_folder
from sdcore.task.spec import TaskSpec
from sdcore.task.writing import to_table
from sdtui.form.desk import desk_of, draft_file
from sdtui.form.facts import Look
from sdtui.form.fields import LinesEditor, TextEditor
from sdtui.form.sections import TITLES
from sdtui.screens.browse import Browse
from sdtui.screens.new_boxes import Findings
from sdtui.settings import Settings
from support.console import SIZES, Driven, drive
from support.fake_runs import sdtui
from support.real_runs import until

_COMMAND = """\
name = "short"
command = "echo hello; sleep 60"
[gpu]
count = 0
"""
LOOK_ONLY = Settings(link="fast", language="en", read_only=True)


def _preset(folder: Path, text: str = _COMMAND) -> str:
    path = folder / "short.toml"
    path.write_text(text)
    return str(path)


def _text(path: Path) -> str:
    return path.read_text()


async def _opened(driven: Driven, source: str | None) -> None:
    driven.app.edit_task(source)
    await driven.until("Description")


def _opened_runs(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which runs would be shown, without the Run screen."""
    seen: list[str] = []
    monkeypatch.setattr(driven.app, "open_run", seen.append)
    return seen


def test_the_demo_is_two_keys_from_the_empty_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer who must fill in a form first never sees the program work."""

    async def story(driven: Driven) -> None:
        seen = _opened_runs(driven, monkeypatch)
        driven.app.edit_task("demo")
        await driven.until("Description")
        await driven.press("ctrl+r")
        await driven.until(lambda: bool(seen), 60)
        assert desk_of(driven.app).typed is False
        assert not draft_file().exists()
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
        seen = _opened_runs(driven, monkeypatch)
        await _opened(driven, _preset(tmp_path))
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


@pytest.mark.parametrize("size", [(60, 16), *SIZES])
def test_every_part_opens_at_every_size(size: tuple[int, int]) -> None:
    """A part that only fits a wide terminal is one that an SSH session does not have."""

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        await driven.until("batch 16")
        for words in ("Data set /mnt/dataset", "GPUs", "built-in trainer", "max_train_steps",
                      "find a setting", "this machine", "What it does"):  # fmt: skip
            await driven.press("f6")
            await driven.until(words)
            assert TITLES[desk_of(driven.app).section] in driven.lines()[1]
        assert "batch 16" in driven.text()  # the summary stands beside every part

    drive(story, size)


def test_verdicts_tell_what_lies_at_a_path() -> None:
    """A wrong folder that is only found after the start costs a queue's wait."""

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        await driven.press("f6")
        await driven.until("✓ 480 images, 480 captions")
        await driven.until("StableDiffusionPipeline")
        await driven.press("enter")
        await driven.type("x")  # …/datasetx
        await driven.until("no file or folder of that name")
        await driven.until("1 problem")

    drive(story)


def test_problems_are_told_where_they_are_and_a_key_goes_there() -> None:
    """In a form of seventy fields a problem that is only counted is not found."""

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        await driven.press("enter")
        await driven.type(" !")
        await driven.press("f6", "f6", "f6", "f6", "down")
        await driven.type("x")
        await driven.until("2 problems")
        await driven.press("escape", "ctrl+r")  # starts nothing
        await driven.until("cannot name a run")
        assert desk_of(driven.app).section == "basics"
        await driven.press("ctrl+n")
        await driven.until("✗ input should be a valid integer")
        await driven.press("backspace", "escape")
        await driven.until("1 problem")

    drive(story)


def test_a_lost_link_loses_nothing(tmp_path: Path) -> None:
    """A form filled in for ten minutes must survive the console's death at any key."""

    async def first(driven: Driven) -> None:
        await _opened(driven, "demo")
        await driven.press("f6", "f6", "f6", "f6", "enter")
        await driven.type("5x")
        await driven.until(lambda: draft_file().exists() and "485x" in _text(draft_file()))
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
        await _opened(driven, _preset(tmp_path))
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
        seen = _opened_runs(driven, monkeypatch)
        await _opened(driven, _preset(tmp_path, _COMMAND.replace("count = 0", "count = 8")))
        await driven.press("ctrl+r")
        await driven.until("the task wants 8 GPUs", 30)
        assert isinstance(driven.app.screen, Findings)
        await driven.press("y")  # does nothing
        await driven.press("escape")
        desk_of(driven.app).edit("gpu.count", "0")
        desk_of(driven.app).edit("image", "some/image")
        await driven.press("ctrl+r")
        await driven.until("Start all the same?", 30)
        assert "the image 'some/image' is not used" in driven.text()
        await driven.press("y")
        await driven.until(lambda: bool(seen), 30)
        sdtui("stop", seen[0], "--kill")

    drive(story)


def test_a_copied_run_gets_a_fresh_name_and_keeps_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one name cannot be told apart on the command line."""
    preset = _preset(tmp_path, _COMMAND + '[env]\nA = "1"\n')

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
    own = Path(_preset(tmp_path, "# my notes\n" + _COMMAND))
    other = tmp_path / "other.toml"
    other.write_text("# another\n" + _COMMAND)

    async def story(driven: Driven) -> None:
        await _opened(driven, str(own))
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
        assert "words" not in _text(other)
        await driven.press("ctrl+s")
        driven.app.screen.query_one(Input).value = str(shipped_folder() / "demo.toml")
        await driven.press("enter", "y")
        await driven.until("is not saved")

    before = (shipped_folder() / "demo.toml").read_text()
    drive(story)
    assert (shipped_folder() / "demo.toml").read_text() == before


def test_training_settings_are_found_by_their_meaning() -> None:
    """Nobody knows by heart that Min-SNR stands under Loss."""

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        await driven.press("f6", "f6", "f6", "f6", "f6")
        await driven.until("set by env resolution")
        assert "Loader threads" not in driven.text()  # not changed: folded
        await driven.press("slash")
        await driven.type("mirror")
        await driven.until("Random flip")
        await driven.until(lambda: "Centre crop" not in driven.text())
        await driven.press("enter", "space")  # the first that was found
        assert desk_of(driven.app).raw("train.random_flip") == "true"
        await driven.press("slash", "escape")
        await driven.until("Centre crop")

    drive(story)


def test_a_pasted_env_file_fills_the_table_and_secrets_stay_dark() -> None:
    """A token on a shared screen is a token given away."""

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        await driven.press("f6", "f6", "f6", "f6", "enter", *["down"] * 6)
        text = "export HF_TOKEN='hf_geheim'\nlr=2e-4\nNCCL_DEBUG=INFO\n"
        assert driven.app.focused is not None
        driven.app.focused.post_message(events.Paste(text))
        await driven.until("NCCL_DEBUG")
        await driven.until("not kept in the draft")
        desk = desk_of(driven.app)
        assert desk.raw("env.lr") == "2e-4"
        assert desk.raw("env.HF_TOKEN") == "hf_geheim"
        assert "hf_geheim" not in driven.text()
        await driven.until(lambda: draft_file().exists())
        assert "hf_geheim" not in _text(draft_file())
        await driven.press("f6", "f6", "f6", "ctrl+t")
        await driven.until("checked", 30)
        assert "hf_geheim" not in driven.text()
        assert "HF_TOKEN='***'" in driven.text() or "***" in str(desk.launch().masked())  # type: ignore[union-attr]

    drive(story, (100, 30))


def test_what_is_pasted_stands_in_the_field_once_and_clean() -> None:
    """A path pasted twice over is a path that does not exist."""

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        for editor in (TextEditor("name"), LinesEditor("train.validation_prompts", listed=True)):
            await driven.app.screen.mount(editor)
            editor.focus()
            await driven.until(lambda: editor.has_focus)  # noqa: B023  # awaited here
            driven.app.post_message(events.Paste("a\x1b[2Jb"))  # as the terminal's comes
            await driven.until(lambda: "ab" in _shown(editor))  # noqa: B023  # likewise
            await driven.pilot.pause()
            assert _shown(editor) == "ab"

    drive(story)


def _shown(editor: TextEditor | LinesEditor) -> str:
    return editor.value if isinstance(editor, TextEditor) else editor.text


def test_browsing_walks_folders_with_hostile_names(tmp_path: Path) -> None:
    """A folder's name is written by others; escape sequences in it must not reach the terminal."""
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / ".hidden").mkdir()
    (tmp_path / "data" / "ev\x1b]52;c;ZXZpbA==\x07il[b]").mkdir()

    async def story(driven: Driven) -> None:
        chosen: list[str | None] = []
        await driven.until(lambda: driven.app.is_running)
        driven.app.push_screen(Browse(str(tmp_path / "data" / "gone")), chosen.append)
        await driven.until("▸ inner")
        text = driven.text()
        assert "\x1b" not in text
        assert "evil[b]" in text
        assert ".hidden" not in text
        await driven.press("ctrl+g")
        await driven.until(".hidden")
        await driven.type("inn")
        await driven.press("enter")
        await driven.until(
            lambda: str(tmp_path / "data" / "inner") in driven.text().replace("\n", "")
        )
        await driven.press("enter")  # takes the folder that is shown
        await driven.until(lambda: bool(chosen))
        assert chosen == [str(tmp_path / "data" / "inner")]

    drive(story, (140, 40))


def test_the_form_opens_before_its_helper_answers() -> None:
    """Seconds of imports and of reading data must not stand before the first field."""

    async def story(driven: Driven) -> None:
        began = time.monotonic()
        driven.app.edit_task("demo")
        await driven.until("Description")
        assert not desk_of(driven.app).look.known
        assert time.monotonic() - began < 5  # a tenth of that on an idle machine

    drive(story)


def test_other_parts_of_the_console_are_a_key_away() -> None:
    """Digits must type in a field, and change screens out of it."""

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
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
        await _opened(driven, "demo")
        await driven.until(lambda: desk_of(driven.app).look.known, 30)
        await driven.press("escape", "1")

    drive(story)
    assert len(begun) == 1
    until(lambda: begun[0].poll() is not None, 10)


def test_the_gpus_of_the_host_stand_beside_the_count() -> None:
    """Who asks for more GPUs than there are, or for busy ones, waits in the queue for nothing."""
    gpus = [
        {"words": "0  NVIDIA H800, 2 GiB used of 80 GiB, free", "total": 80 << 30,
         "name": "NVIDIA H800", "free": True},
        {"words": "1  NVIDIA H800, 70 GiB used of 80 GiB, 1 program on it", "total": 80 << 30,
         "name": "NVIDIA H800", "free": False},
    ]  # fmt: skip

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        desk = desk_of(driven.app)
        await driven.until(lambda: desk.look.known, 30)
        desk.look = Look(desk.look.host | {"gpus": gpus}, desk.look.facts)
        await driven.press("f6", "f6")
        await driven.until("0 = CPU: trains without a GPU")
        text = driven.text()
        assert "1 of 2 GPUs of this host are free" in text
        assert "○ 0  NVIDIA H800, 2 GiB used" in text
        assert "● 1  NVIDIA H800, 70 GiB used" in text
        desk.edit("gpu.count", "3")
        await driven.press("ctrl+n")
        await driven.until("this host has 2 GPUs: type 2 or less")

    drive(story)


def test_the_form_speaks_another_language_at_once_and_loses_nothing() -> None:
    """A rebuilt screen must show what was typed, not what was loaded."""

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        await driven.press("enter", "x", "f6", "enter")
        await driven.until("/mnt/model")
        driven.app.change_settings(language="zh_CN")
        await driven.until("/mnt/model")
        await driven.press("shift+f6")
        await driven.until("demox")

    drive(story)


def test_mounts_are_added_and_removed() -> None:
    """The platform's form takes further mounts; a removed one must not come back."""

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        await driven.press("f6", "enter", *["down"] * 6)
        await driven.press("enter")  # + add a mount
        await driven.type("/tmp")
        await driven.press("down", "down")
        await driven.type("/data/more")
        desk = desk_of(driven.app)
        await driven.until(lambda: desk.task is not None and len(desk.task.mounts) == 3)
        assert desk.draft.mounts[3].target == "/data/more"
        await driven.press("f9")
        await driven.until(lambda: desk.task is not None and len(desk.task.mounts) == 2)
        assert len(desk.draft.mounts) == 3

    drive(story)


def test_the_command_is_copied_whole_and_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied is pasted into chats; a token in it is a token given away."""
    copied: list[str] = []

    def copy(_app: object, text: str, _what: str) -> str:
        copied.append(text)
        return "copied"

    monkeypatch.setattr("sdtui.copying.copy", copy)

    async def story(driven: Driven) -> None:
        await _opened(driven, "demo")
        desk_of(driven.app).edit("env.HF_TOKEN", "hf_geheim")
        await driven.press("enter", "ctrl+y")
        (text,) = copied
        assert text.startswith("cd ")
        assert "-m sdcore.train" in text
        assert "HF_TOKEN='***'" in text
        assert "hf_geheim" not in text

    drive(story)
