"""The Chinese console: nothing untranslated, nothing out of line, switched while it is open."""

import ast
import importlib
import os
import re
import shutil
import socket
import string
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sdcore.runs import locks
from sdcore.runs.paths import RunDir
from sdtui import keymap, language
from sdtui.settings import Settings
from support.console import SIZES, Driven, drive
from support.fake_runs import exit_record, make_run, metric
from support.gpu_lines import GIB, host_of_eight, lines
from support.pictures import draw_step

ROOT = Path(__file__).parents[2]
CHINESE = Settings(link="fast", language="zh_CN")
ENGLISH = Settings(link="fast", language="en")
# Words of the English console that no Chinese one shows; names such as EMA and GPU are in both.
_WORDS = (
    "about add all and any asked attempt back base basics batch begin browse by cancel caption "
    "captions check checked checking checkpoint checkpoints choice choose chosen close cluster "
    "command commands compare copied copy core cores data days default delete demo description "
    "disk done draw each edit elapsed empty epoch epochs error errors event events every export "
    "failed fast field fields filter finished first folder follow following form found free go "
    "help host image images in interrupted is it language last left length level line linear "
    "lines link list live load loading local log look loss lost lowest make mark marked maximise "
    "memory metric missing model more mount mounts move name new newest next none not note "
    "now of off older on only open optimizer other outcome output over overlay page part parts "
    "path pause paused peak plan power precision preset presets previous problem problems "
    "processes progress project prompt prompts queued quit rate raw read reading remedy remove "
    "resume resumed review run running runs runtime sample samples save saved saves saving "
    "search seed set setting settings show shows size slow smooth sort speed start starting "
    "starts state step steps stop stopped stopping summary table task tasks temperature text "
    "the theme this time to tracking training type unknown up use utilisation wait waits "
    "warning welcome where which window wrap wrapped writable write yes zoom zoomed"
)
LEFT_OVER = frozenset(_WORDS.split())
FORM = ("新任务", "挂载", "镜像设置", "显卡配置", "环境变量", "启动命令", "创建")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """Return what ``make locale`` runs."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        return importlib.import_module("translate")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def collected(tool: ModuleType) -> Any:
    """Return every text in the sources; reading them takes a second."""
    return tool.texts()


def _forms(entry: str | tuple[str, ...] | list[str]) -> list[str]:
    return [entry] if isinstance(entry, str) else list(entry)


# The catalogue.
@pytest.mark.parametrize("name", [name for name in language.LANGUAGES if name != "en"])
def test_no_text_is_missing(name: str, tool: ModuleType, collected: Any) -> None:
    """One English line amid Chinese ones is what a person remembers of the translation."""
    catalogue = tool.read(name)

    assert {m.id for m in catalogue if m.id} == {m.id for m in collected if m.id}
    assert not [m.id for m in catalogue if m.id and not all(_forms(m.string))]
    assert not [m.id for m in catalogue if m.id and m.fuzzy]


def test_translations_take_the_same_values(tool: ModuleType) -> None:
    """A placeholder misspelt raises where the text is shown; one left out hides a number."""

    def fields(text: str) -> set[tuple[str, str]]:
        parts = string.Formatter().parse(text)
        return {(name, spec or "") for _text, name, spec, _conversion in parts if name is not None}

    def keys_in(text: str) -> set[str]:
        return {id_ for id_ in re.findall(r"\[([\w.]+)\]", text) if id_ in keymap.DEFAULTS}

    catalogue = tool.read("zh_CN")
    for message in (m for m in catalogue if m.id):
        originals, forms = _forms(message.id), _forms(message.string)
        assert len(forms) == (1 if isinstance(message.id, str) else catalogue.num_plurals)
        for form in forms:
            assert fields(form) == fields(originals[-1]), message.id
            assert form.count("\n") == originals[-1].count("\n"), message.id
            assert form.startswith(" ") == originals[-1].startswith(" "), message.id
            assert keys_in(form) == keys_in(" ".join(originals)), message.id


def test_the_compiled_translations_are_those_of_the_sources(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is shipped is the compiled file; it must not lag behind what translators see."""
    before = tool.LOCALE
    shutil.copytree(before, tmp_path / "locale")
    monkeypatch.setattr(tool, "LOCALE", tmp_path / "locale")

    tool.update("zh_CN")

    for name in ("sdtui.po", "sdtui.mo"):
        file = Path("zh_CN", "LC_MESSAGES", name)
        assert (tmp_path / "locale" / file).read_bytes() == (before / file).read_bytes()


def test_every_text_can_be_collected(tool: ModuleType, collected: Any) -> None:
    """A text built on the fly, or inside an f-string, is never found by the collector."""
    known = {_forms(message.id)[0] for message in collected if message.id}
    for path in tool.SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in tool.KEYWORDS and node.args:
                first, place = node.args[0], f"{path.name}:{node.lineno}"
                assert not isinstance(first, ast.JoinedStr | ast.BinOp), place
                if isinstance(first, ast.Constant):
                    assert first.value in known, place


# The screens.
def _alive(id_: str, phase: str, **records: Any) -> RunDir:
    """Make a run that this process holds, so that it counts as alive."""
    now, more = time.time(), records.pop("more", {})
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    records["supervisor"] = {"format": 1, "pid": os.getpid(), "boot_id": boot,
                             "host": socket.gethostname(), "started": now - 100}  # fmt: skip
    records["state"] = {"format": 1, "phase": phase, "since": now, "attempt": 2, "gpus": [], **more}
    run = make_run(id_, launch={"format": 1, "total_steps": 4000}, **records)
    assert locks.take(run.lock) is not None
    return run


def _metrics(start: float) -> list[dict[str, Any]]:
    more = {"grad_norm": 0.4, "gpu_allocated": 54 * GIB, "gpu_peak": 58 * GIB}
    return [metric(step, loss=0.6 / step, at=start + step) | more for step in range(1, 120)]


def _events(at: float) -> list[dict[str, Any]]:
    kinds: list[dict[str, Any]] = [
        {"kind": "phase", "phase": "loading"},
        {"kind": "model", "name": "sd15", "parameters": 859_520_964, "precision": "bf16",
         "device": "H800"},
        {"kind": "data", "images": 833, "captions": 833},
        {"kind": "plan", "max_train_steps": 4000, "effective_batch": 16, "epochs": 7, "seed": 4},
        {"kind": "resumed", "step": 50, "exact": False, "passed_over": ["step-60"]},
        {"kind": "phase", "phase": "training"},
        {"kind": "checkpoint", "step": 50, "size": 5 << 30, "seconds": 12.2},
        {"kind": "sample", "step": 50, "count": 4},
        {"kind": "non_finite", "step": 60, "loss": "NaN", "files": ["a.png"]},
    ]  # fmt: skip
    return [{"at": at, "attempt": 2, **kind} for kind in kinds]


def _runs() -> RunDir:
    """Make a run of every state, told of in Chinese where it is told of; return a live one."""
    now = time.time()
    _alive("20260801-000000-r1", "queued")
    _alive("20260801-000001-r2", "starting")
    _alive("20260801-000002-r3", "stopping", metrics=_metrics(now - 99),
           more={"step": "save", "deadline": now + 250})  # fmt: skip
    ends = {"failed": "显存不足", "stopped": "已保存", "interrupted": "主机重启", "done": ""}
    for number, (state, reason) in enumerate(ends.items(), 3):
        told = exit_record(state, reason=reason, last_lines=["日志"], peak_gpu_memory=62 * GIB)
        task = f"[train]\nseed = {number}\n".encode()
        make_run(f"20260801-00000{number}-r{number}", exit=told, metrics=_metrics(now - 999),
                 log=b"...\n", task=task)  # fmt: skip
    run = _alive("20260801-000009-r9", "running", metrics=_metrics(now - 150),
                 events=_events(now - 120), log=b"...\n" * 40, task=b"[train]\nseed = 1\n",
                 gpu=lines(host_of_eight, 60, now - 60),
                 more={"gpus": ["GPU-0", "GPU-1"]})  # fmt: skip
    for step in (50, 100):
        draw_step(run, step, ("圆", "方"))
    return run


def _looks_right(driven: Driven) -> None:
    """Hold one screen against what every Chinese screen must be."""
    width = driven.app.size.width
    strips = driven.app.screen._compositor.render_strips()
    assert all(strip.cell_length == width for strip in strips), driven.text()
    shown = [line for line in driven.lines() if not line.startswith(" $ ")]
    # A word before a colon is a name that is explained there, "host" of a runtime.
    words = re.findall(r"(?<![\w./=~{-])[A-Za-z]+(?![\w./=({：-])", "\n".join(shown))
    assert not {word.lower() for word in words} & LEFT_OVER, driven.text()


async def _boxes(driven: Driven) -> None:
    """Look at what opens over a screen."""
    for key, words in (("f1", "esc 关闭"), ("ctrl+p", "输入想做的事"), ("comma", "主题")):
        await driven.press(key)
        await driven.until(words)
        await driven.pilot.pause(0.1)
        _looks_right(driven)
        await driven.press("escape")


@pytest.mark.parametrize("size", SIZES)
def test_every_screen_speaks_chinese_and_lines_up(size: tuple[int, int]) -> None:
    """A wide sign counted as one cell pushes the rest of its row out of the terminal."""

    async def story(driven: Driven) -> None:
        await driven.until("磁盘")
        _looks_right(driven)
        run = _runs()
        await driven.until("r9")
        _looks_right(driven)
        await _boxes(driven)
        for status in list(driven.app.view.runs or ()):
            driven.app.open_run(status.id)
            await driven.until("── 日志")
            await driven.until(status.name)
            _looks_right(driven)
        for mode, words in (("log", "跟随"), ("gpu", "掉卡"), ("images", "提示词 1/2")):
            driven.app.open_run(run.id, mode)
            await driven.until(words)
            _looks_right(driven)
        driven.app.listing.marked = tuple(s.id for s in (driven.app.view.runs or ())[:3])
        driven.app.go("compare")
        await driven.until("不同的设置")
        _looks_right(driven)

    drive(story, size, CHINESE)


@pytest.mark.parametrize("size", SIZES)
def test_the_form_has_the_words_of_the_platform(size: tuple[int, int], tmp_path: Path) -> None:
    """Whoever knows the platform's form finds the same names in the same order."""
    preset = tmp_path / "p.toml"
    preset.write_text('name = "r1"\ndescription = "描述"\n[gpu]\ncount = 0\n', encoding="utf-8")

    async def story(driven: Driven) -> None:
        driven.app.edit_task(str(preset))
        await driven.until("任务描述")
        assert all(word in driven.text() for word in FORM)
        for words in ("数据集", "显卡型号", "内置训练器", "最大步数", "查找设置", "本机",
                      "完整命令", "任务名称"):  # fmt: skip
            _looks_right(driven)
            await driven.press("f6")
            await driven.until(words)

    drive(story, size, CHINESE)


def test_the_language_changes_on_open_screens() -> None:
    """To start anew for another language would end the view of what one is watching."""
    make_run("20260801-000000-r1", exit=exit_record(), metrics=_metrics(time.time()))

    async def story(driven: Driven) -> None:
        for mode, english, chinese in (
            ("tasks", "progress", "进度"), ("run", "linear", "线性"),
            ("new", "Description", "任务描述"),
        ):  # fmt: skip
            driven.app.go(mode)
            await driven.until(english)
            driven.app.change_settings(language="zh_CN")
            await driven.until(chinese)
            assert english not in driven.text()
            driven.app.change_settings(language="en")
            await driven.until(english)
            assert chinese not in driven.text()

    drive(story, settings=ENGLISH)


def test_a_console_may_be_left_amid_a_change_of_language() -> None:
    """Textual goes through all screens then; one made anew would end it with an error."""

    async def story(it: Driven) -> None:
        await it.press("2")
        await it.until("Description")
        await it.press("1")
        before = dict(it.app._screen_stacks)
        it.app._running = False
        try:
            await it.app._rebuild_screens()
        finally:
            it.app._running = True
        assert it.app._screen_stacks == before

    drive(story)
