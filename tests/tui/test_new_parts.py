"""The parts of the form, driven by keys: what is typed into them, and what they tell of it."""

import importlib
from pathlib import Path

import pytest
from textual import events
from textual.widget import Widget

from sdtui.form.desk import desk_of
from sdtui.form.drafts import draft_file
from sdtui.form.facts import Look
from sdtui.form.fields import LinesEditor, TextEditor
from sdtui.form.sections import TITLES
from sdtui.form.training import Act, Training
from sdtui.screens.browse import Browse
from support.console import SIZES, Driven, drive
from support.forms import opened


@pytest.mark.parametrize("size", [(60, 16), *SIZES])
def test_every_part_opens_at_every_size(size: tuple[int, int]) -> None:
    """A part that only fits a wide terminal is one that an SSH session does not have."""

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
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
        await opened(driven, "demo")
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
        await opened(driven, "demo")
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


def test_training_settings_are_found_by_their_meaning() -> None:
    """Nobody knows by heart that Min-SNR stands under Loss."""

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
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
        await opened(driven, "demo")
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
        assert "hf_geheim" not in draft_file().read_text()
        await driven.press("f6", "f6", "f6", "ctrl+t")
        await driven.until("checked", 30)
        assert "hf_geheim" not in driven.text()
        assert "HF_TOKEN='***'" in driven.text() or "***" in str(desk.launch().masked())  # type: ignore[union-attr]

    drive(story, (100, 30))


def test_what_is_pasted_stands_in_the_field_once_and_clean() -> None:
    """A path pasted twice over is a path that does not exist."""

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
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


def test_the_gpus_of_the_host_stand_beside_the_count() -> None:
    """Who asks for more GPUs than there are, or for busy ones, waits in the queue for nothing."""
    gpus = [
        {"words": "0  NVIDIA H800, 2 GiB used of 80 GiB, free", "total": 80 << 30,
         "name": "NVIDIA H800", "free": True},
        {"words": "1  NVIDIA H800, 70 GiB used of 80 GiB, 1 program on it", "total": 80 << 30,
         "name": "NVIDIA H800", "free": False},
    ]  # fmt: skip

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
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


def test_mounts_are_added_and_removed() -> None:
    """The platform's form takes further mounts; a removed one must not come back."""

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
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


def _names(driven: Driven) -> list[str]:
    return [row.name for row in desk_of(driven.app).draft.env]


async def _at_variables(driven: Driven, **variables: str) -> None:
    """Open the environment with variables of one's own in it, the first one's name in focus."""
    await opened(driven, "demo")
    for name, value in variables.items():
        desk_of(driven.app).edit(f"env.{name}", value)
    await driven.press("f6", "f6", "f6", "f6", "enter", *["down"] * 6)
    await driven.until(lambda: getattr(driven.app.focused, "key", "") == "variable")


def test_a_search_that_ends_while_the_form_goes_is_no_error() -> None:
    """It arranges the settings from a worker, which may find their lines taken away already."""

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
        await driven.press("f6", "f6", "f6", "f6", "f6")
        await driven.until("set by env resolution")
        training = driven.app.screen.query_one(Training)
        await training.query(Act).remove()
        training.draw()
        await training.query_one("#training-words").remove()
        training.draw()

    drive(story)


def test_a_variable_is_renamed_in_its_place() -> None:
    """Who misspelt a name had to remove it and to type its value, a long token, again."""

    async def story(driven: Driven) -> None:
        await _at_variables(driven, FOO="1", BAR="2")
        before = _names(driven)
        await driven.type("D")
        assert _names(driven) == before  # half a name is none
        await driven.press("enter")
        assert _names(driven) == [*before[:-2], "FOOD", "BAR"]
        await driven.type("3")  # the focus went to the value
        await driven.until(lambda: desk_of(driven.app).raw("env.FOOD") == "13")
        await driven.press("down", "down", "down", "up", "up")  # to the line that adds, and back
        await driven.type("S")
        await driven.press("ctrl+t")  # all that is typed counts, also without Enter
        assert _names(driven)[-2:] == ["FOOD", "BARS"]
        task = desk_of(driven.app).task
        assert task is not None
        assert task.env["BARS"] == "2"

    drive(story)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "the variable has no name"),
        ("A=B", "a name holds no ="),
        ("BAR", "BAR stands here already"),
        ("lr", "lr stands here already"),
        ("1A", "letters, digits and _ alone"),
    ],
)
def test_a_name_that_cannot_be_is_told_under_it_and_starts_nothing(typed: str, words: str) -> None:
    """A run that starts under another name than the screen shows reads a wrong setting."""

    async def story(driven: Driven) -> None:
        await _at_variables(driven, FOO="1", BAR="2")
        await driven.press("backspace", "backspace", "backspace")
        await driven.type(typed)
        await driven.press("enter")
        rows = driven.lines()
        [at] = [i for i, row in enumerate(rows) if words in row]
        assert " 1" in rows[at - 1]
        desk = desk_of(driven.app)
        assert "FOO" in _names(driven)
        await driven.press("escape", "ctrl+r")
        await driven.until(lambda: driven.app.focused is not None)  # it goes to the problem
        assert desk.task is None
        assert "renames" not in desk.record()  # it may be a secret in the wrong field
        assert getattr(driven.app.focused, "key", "") == "variable"
        await driven.press(*["backspace"] * 4)
        await driven.type("OK")
        await driven.press("enter")
        await driven.until(lambda: words not in driven.text())
        assert _names(driven)[-2:] == ["OK", "BAR"]
        assert desk.task is not None

    drive(story)


def test_a_secret_stays_dark_while_its_name_is_typed() -> None:
    """With its last letter gone HF_TOKEN is no secret's name, and its value would stand there."""

    async def story(driven: Driven) -> None:
        await _at_variables(driven, HF_TOKEN="hf_geheim")
        await driven.press(*["backspace"] * 5)
        await driven.pilot.pause(1.2)  # longer than until the draft is written
        assert "hf_geheim" not in driven.text()
        assert not draft_file().exists() or "hf_geheim" not in draft_file().read_text()
        await driven.type("KEY")
        await driven.press("enter", "x")
        assert "hf_geheim" not in driven.text()
        await driven.until(lambda: desk_of(driven.app).raw("env.HF_KEY") == "hf_geheimx")

    drive(story)


def test_a_slash_begins_a_path_where_paths_are_typed_and_finds_settings_elsewhere() -> None:
    """Who types an absolute path before going into its field lands in another part of the form."""

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
        await driven.press("f6")
        await driven.until("Data set /mnt/dataset")
        await driven.press("question_mark")
        await driven.until("Go to a path and begin it with /")
        assert "training setting" not in driven.text()
        await driven.press("escape")
        await driven.type("/tmp")
        desk = desk_of(driven.app)
        assert desk.section == "mounts"
        assert desk.raw("mounts.2.source") == "/tmp"  # the first that is empty
        await driven.press("tab", "slash")  # from the switch beside it
        assert getattr(driven.app.focused, "key", "") == "mounts.2.source"
        assert desk.raw("mounts.2.source") == "/tmp"
        await driven.press("f6")
        await driven.until(lambda: driven.app.focused is not None)
        await driven.press("escape", "slash")
        await driven.until(lambda: desk.section == "training")

    drive(story)


def test_a_home_of_nobody_is_told_of() -> None:
    """Each ``~name`` is one while it is being typed; it ended the console."""

    async def story(driven: Driven) -> None:
        await opened(driven, "demo")
        desk_of(driven.app).edit("mounts.0.source", "")
        await driven.press("f6", "enter")
        await driven.type("~nobody-of-that-name/x")
        await driven.until("no file or folder of that name")

    drive(story)


def test_whatever_has_keys_of_its_own_has_a_title_in_the_help() -> None:
    """The name of a class above a list of keys says nothing to who reads it."""
    for module in ("form.env", "form.training", "form.review", "screens.browse",
                   "screens.choose_preset", "screens.new", "screens.new_boxes"):  # fmt: skip
        importlib.import_module(f"sdtui.{module}")
    ours = [
        each
        for each in _all_of(Widget)
        if each.__module__.startswith(("sdtui.form", "sdtui.screens.browse", "sdtui.screens.new"))
        and "BINDINGS" in vars(each)
    ]

    assert len(ours) > 10
    assert [each.__name__ for each in ours if "HELP_TITLE" not in vars(each)] == []


def _all_of(kind: type[Widget]) -> list[type[Widget]]:
    return [each for sub in kind.__subclasses__() for each in (sub, *_all_of(sub))]
