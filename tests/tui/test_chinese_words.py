"""What a Chinese console says of the core's and the trainer's English, and of its own files."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sdcore.errors import SdError
from sdcore.gpu.samples import Unavailable
from sdcore.runs.status import Status
from sdcore.task.presets import load_preset
from sdtui import language, phrases
from sdtui.form.fields import row_of
from sdtui.settings import Settings, load_settings, settings_file
from support.console import Driven, drive
from support.fake_runs import exit_record, make_run

CHINESE = Settings(link="fast", language="zh_CN")
# Words, not names, paths or commands: "the", not "gpu.count".
ENGLISH = re.compile(r"\b(?:the|of|is|it|its|cannot|and|was|this|or|to|with|not|because|free)\b")


def test_an_error_box_is_chinese_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resumed on a host without a GPU, a run told half a sentence: "the GPUs of this host无法"."""
    import sdcore.supervise.begin  # noqa: F401, PLC0415  # so that it can be replaced
    from sdcore.supervise.gpus import no_readings  # noqa: PLC0415  # the sentence itself

    def resume(_run: object) -> None:
        raise no_readings(Unavailable("no_driver", "Driver Not Loaded"))

    monkeypatch.setattr(sys.modules["sdcore.supervise.begin"], "resume_run", resume)
    make_run("20260801-000000-r1", exit=exit_record("stopped", reason="stopped by console"))

    async def story(driven: Driven) -> None:
        await driven.until("■ r1")
        await driven.press("r")
        await driven.until("无法使用本机的 GPU")
        assert "原因：驱动未加载" in driven.text()
        assert "请把 gpu.count 设为 0，用 CPU 训练" in driven.text()
        box = [line for line in driven.lines() if "│" in line]
        assert not ENGLISH.search("\n".join(box)), driven.text()

    drive(story, settings=CHINESE)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            {"kind": "choice", "what": "gradient_checkpointing", "chosen": "on",
             "because": "about 62 GiB would be needed without it and 23 GiB are free"},
            "gradient_checkpointing: 开，因为不用它约需 62 GiB，可用 23 GiB",
        ),
        (
            {"kind": "warning", "text": "no samples: validation_prompts is not set"},
            "警告：没有样图：未设置 validation_prompts",
        ),
        (
            {"kind": "resumed", "step": 50, "exact": True,
             "passed_over": ["step-60: unet.safetensors has 12 bytes, not 13",
                             "step-70: no readable manifest.json"]},
            ("已从第 50 步恢复；已跳过：step-60：unet.safetensors 有 12 字节，应为 13；"
             "step-70：manifest.json 无法读取"),
        ),
    ],
)  # fmt: skip
def test_events_tell_the_trainer_in_chinese(record: dict[str, object], said: str) -> None:
    """Why a setting was chosen is what a person opens the events for."""
    language.use("zh_CN")

    assert (phrases.event_words(record) or "").replace(": ", "：") == said.replace(": ", "：")


def test_who_stopped_a_run_is_told_in_chinese() -> None:
    status = Status("20260801-000000-r1", "r1", "stopped", reason="stopped by console; "
                    "a checkpoint was saved")  # fmt: skip
    language.use("zh_CN")

    assert "console" not in phrases.reason_words(status)


def _no_such_preset(_folder: Path) -> None:
    load_preset("pokmon")


def _no_toml(folder: Path) -> None:
    (folder / "a.toml").write_text("name = \n")
    load_preset(folder / "a.toml")


@pytest.mark.parametrize("act", [_no_such_preset, _no_toml, load_preset])
def test_a_preset_that_cannot_be_loaded_is_told_in_chinese(
    act: Callable[[Path], object], tmp_path: Path
) -> None:
    """The three mistakes of a first hour: a name, a syntax, a folder."""
    language.use("zh_CN")
    with pytest.raises(SdError) as caught:
        act(tmp_path)

    from sdtui.told import told  # noqa: PLC0415

    for part in (caught.value.what, caught.value.cause, caught.value.remedy):
        words = told(part).replace(str(tmp_path), "")
        assert not ENGLISH.search(words), words


def test_the_load_box_says_in_chinese_what_presets_are_for() -> None:
    async def story(driven: Driven) -> None:
        driven.app.go("new")
        await driven.until("任务描述")
        await driven.press("ctrl+o")
        await driven.until("一个很小的 Stable Diffusion")
        await driven.type("显卡")  # what is shown is what is filtered
        await driven.until(lambda: "一个很小的" not in driven.text())
        assert "sd15-full-24gb" in driven.text()

    drive(story, (100, 30), CHINESE)


def test_a_choice_says_on_and_off_in_every_field() -> None:
    """``‹ false ›`` above ``‹ 关 ›`` looks like two different things."""
    from sdtui.form.entries import entries  # noqa: PLC0415

    language.use("zh_CN")
    shown = [
        name
        for entry in entries().values()
        if entry.kind in {"switch", "choice"}
        for _value, name in row_of(entry, "x").editor._options
    ]

    assert {"开", "关", "自动"} <= set(shown)
    assert not {"true", "false", "auto"} & set(shown)


def test_what_is_wrong_with_the_settings_is_told_in_their_language() -> None:
    """The language is in the same file: told as it is read, it would be told in English."""
    settings_file().parent.mkdir(parents=True)
    settings_file().write_text('[console]\nlanguage = "zh_CN"\nlink = "quick"\nlinc = 1\n')
    settings = load_settings()
    language.use(settings.language)

    wrong = "\n".join(map(str, settings.problems))

    assert "console.link：不能是 'quick'" in wrong
    assert "console.linc：没有这个设置" in wrong


def test_what_is_said_on_leaving_is_chinese(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line a person reads tells how to come back."""
    from sdtui import app, opening  # noqa: PLC0415

    run = make_run("20260801-000000-r1")
    monkeypatch.setattr(opening, "load_settings", lambda: CHINESE)
    monkeypatch.setattr(opening.sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(opening.sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(opening.gc, "disable", lambda: None)
    monkeypatch.setattr(opening.sys, "setswitchinterval", lambda _seconds: None)
    monkeypatch.setattr(app.SdTui, "run", lambda self, **_options: (run,))
    monkeypatch.setenv("TERM", "xterm")

    opening.open_console()

    assert capsys.readouterr().out == (
        "r1 继续运行：用 sdtui 或 sdtui attach 20260801-000000-r1 可再次查看\n"
    )
