"""Every screen at 80x24 and 140x40, as text: a layout that is pinned cannot slip by accident.

Nothing in them goes with the time, the host, its terminal or a path: clocks and ages are set, what
the host has is made up, and the top bar, which names the host, is left out. To take them anew:
``SDTUI_SNAPSHOTS=write``; then look at the diff.
"""

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdcore.errors import UsageError
from sdcore.runs.paths import RunDir
from sdtui.form.checker import Checker
from sdtui.screens.help import HelpScreen
from sdtui.widgets.chart_body import ChartBody
from sdtui.widgets.welcome import Host
from support.console import Driven, assert_snapshot, drive
from support.fake_runs import T0, exit_record, make_run, metric
from support.forms import written
from support.gpu_lines import GIB, host_of_eight, lines
from support.pictures import draw_step

SIZES = [(80, 24), (140, 40)]
_STEPS = 400
_FORM = 'name = "short"\n[gpu]\ncount = 0\n[train]\nmax_train_steps = 500\nseed = 7\n'
_HOST = Host(
    cpus=16, memory_free=100 << 30, memory_total=128 << 30, disk_free=900 << 30, folder="/runs",
    gpus=(("NVIDIA H800", 1 << 30, 80 << 30), ("NVIDIA H800", 40 << 30, 80 << 30)), no_gpu="",
    preset="sd15-full-80gb", about="Stable Diffusion 1.5, all U-Net weights, one 80 GB GPU",
    presets=9,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_time_and_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_COLOR", "1")  # else pictures go by the colours of this terminal
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("sdtui.phrases.age_words", lambda _seconds: "2d")
    monkeypatch.setattr("sdtui.widgets.welcome.look_at_host", lambda: _HOST)
    yield
    monkeypatch.undo()
    time.tzset()


def _metrics(shift: float = 0.0) -> list[dict[str, Any]]:
    more = {"grad_norm": 0.4, "gpu_allocated": 54 * GIB, "gpu_peak": 58 * GIB}
    return [
        metric(step, loss=round(0.1 + shift + math.exp(-step / 60) + 0.03 * math.sin(step), 4))
        | more
        for step in range(1, _STEPS + 1)
    ]


def _events() -> list[dict[str, Any]]:
    kinds: list[dict[str, Any]] = [
        {"kind": "model", "name": "sd15", "parameters": 859_520_964, "precision": "bf16",
         "device": "H800"},
        {"kind": "data", "images": 833, "captions": 833},
        {"kind": "plan", "max_train_steps": _STEPS, "effective_batch": 16, "epochs": 7, "seed": 4},
        {"kind": "choice", "what": "gradient_checkpointing", "chosen": "off",
         "because": "about 31 GiB are needed without it and 79 GiB are free"},
        {"kind": "checkpoint", "step": 200, "size": 5 << 30, "seconds": 12.2},
        {"kind": "sample", "step": 200, "count": 3},
        {"kind": "checkpoint", "step": 400, "size": 5 << 30, "seconds": 11.8},
    ]  # fmt: skip
    return [{"at": T0 + 50 * i, "attempt": 1, **kind} for i, kind in enumerate(kinds)]


def _run() -> RunDir:
    log = "".join(f"12:00:{i % 60:02d} INFO step={i} loss=0.1\n" for i in range(300))
    end = exit_record(last_step=_STEPS, total_steps=_STEPS, last_loss=0.1183, images_per_s=96.4,
                      ended=T0 + 400, peak_gpu_memory=58 * GIB,
                      gpus=["GPU-0", "GPU-1"])  # fmt: skip
    run = make_run("20260806-070640-flowers", exit=end, metrics=_metrics(), events=_events(),
                   log=log.encode(), gpu=lines(host_of_eight, 400, T0),
                   launch={"format": 1, "total_steps": _STEPS},
                   task=b"[train]\nseed = 4\nlearning_rate = 1e-5\n")  # fmt: skip
    for step in (200, 400):
        draw_step(run, step)
    return run


async def _still(it: Driven) -> None:
    """Wait until nothing changes any more: readers and pictures come one after the other.

    What a chart spans goes by what it showed before, so it forgets that first.
    """
    for chart in it.app.screen.query(ChartBody):
        chart.forget_range()
        chart.draw()
    before, same = "", 0
    end = time.monotonic() + 60
    while same < 6:
        await it.pilot.pause(0.1)
        assert time.monotonic() < end, "the screen goes on changing"
        works = any(not worker.is_finished for worker in it.app.workers)
        text = it.text()
        still = text == before and not (works or it.app._notifications or it.app._newest)
        before, same = text, same + 1 if still else 0


def _taken(it: Driven, name: str) -> None:
    size = it.app.size
    lines = [re.sub(r"^.*(?=/runs/2026)", "…", line) for line in it.lines()[1:]]
    assert_snapshot(f"{name}-{size.width}x{size.height}", lines)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("mode", "there"),
    [("run", "12:00:59 INFO step=299"), ("gpu", "off the bus"), ("images", "a red circle")],
)
def test_a_screen_of_one_run_stays_as_it_is(mode: str, there: str, size: tuple[int, int]) -> None:
    run = _run()

    async def story(it: Driven) -> None:
        await it.until("flowers")
        it.app.open_run(run.id, mode)
        await it.until(there)
        await _still(it)
        _taken(it, mode)

    drive(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_comparison_stays_as_it_is(size: tuple[int, int]) -> None:
    first = _run()
    task = b"[train]\nseed = 5\nlearning_rate = 1e-4\n"
    end = exit_record("stopped", last_step=_STEPS, total_steps=_STEPS)
    second = make_run("20260807-070640-birds", exit=end, metrics=_metrics(0.2), task=task)

    async def story(it: Driven) -> None:
        await it.until("birds")
        it.app.listing.marked = (first.id, second.id)
        it.app.go("compare")
        await it.until("learning_rate")
        await it.until("┤")
        await it.until(lambda: [c.coarse for _id, c in it.app.view.overlays if len(c)] == [False])
        await it.until(lambda: "reading…" not in it.text())
        await _still(it)
        _taken(it, "compare")

    drive(story, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("part", "there"), [("mounts", "Data set"), ("training", "Max steps")])
def test_the_form_stays_as_it_is(
    part: str, there: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(tmp_path, _FORM)
    monkeypatch.setattr(Checker, "ask", lambda *_asked: 0)  # what this host has is not shown

    async def story(it: Driven) -> None:
        it.app.edit_task(source)
        await it.until("Description")
        for _part in range(["basics", "mounts", "gpu", "command", "env", "training"].index(part)):
            await it.press("f6")
        await it.until(there)
        await _still(it)
        _taken(it, f"new-{part}")

    drive(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_welcome_stays_as_it_is(size: tuple[int, int]) -> None:
    async def story(it: Driven) -> None:
        await it.until("900")
        await _still(it)
        _taken(it, "welcome")

    drive(story, size)


@pytest.mark.parametrize("size", SIZES)
def test_boxes_stay_as_they_are(size: tuple[int, int]) -> None:
    make_run("20260806-070640-flowers", exit=exit_record())

    async def story(it: Driven) -> None:
        await it.until("flowers")
        await it.press("question_mark")
        await it.until(lambda: isinstance(it.app.screen, HelpScreen))
        await _still(it)
        _taken(it, "box-help")
        await it.press("escape")
        it.app.tell(UsageError("the run wants 8 GPUs", cause="this host has 2 usable GPUs",
                               remedy="set gpu.count to 2 or less"))  # fmt: skip
        await it.until("remedy")
        await _still(it)
        _taken(it, "box-error")

    drive(story, size)
