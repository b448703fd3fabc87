"""Takes the README's screenshots: ``make screenshots``, or by NAME …; ``--check`` only compares.

The screens are the console's own, over run folders that are made up here: one that trains, some
that are over. No GPU is needed; the figures are invented and look like those of two H800.
"""

import asyncio
import html
import json
import math
import os
import platform
import random
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
# Read by Textual when it is imported.
os.environ["TEXTUAL_DISABLE_KITTY_KEY"] = "1"
os.environ["TEXTUAL_COLOR_SYSTEM"] = "truecolor"
os.environ.pop("NO_COLOR", None)

from sdcore.runs import locks  # noqa: E402
from sdcore.runs.files import write_json  # noqa: E402
from sdcore.runs.paths import RunDir, make_private, new_run_id, runs_root  # noqa: E402
from sdtui.settings import Settings  # noqa: E402
from support.console import Driven, console  # noqa: E402
from support.fake_trainer import picture  # noqa: E402

OUT = ROOT / "docs" / "screens"
GIB = 1 << 30
STEPS, DONE = 15_000, 4_210
PROMPTS = ("a drawing of a green pokemon with red eyes", "a blue dragon")


@dataclass(frozen=True)
class Scene:
    """One picture: what is pressed before it is taken."""

    name: str
    size: tuple[int, int]
    settings: Settings
    story: Callable[[Driven], Awaitable[None]]


def main(argv: list[str]) -> int:
    """Take every picture, or say of those that are there which are out of date."""
    checking = argv[:1] == ["--check"]
    names = argv[checking:]
    OUT.mkdir(parents=True, exist_ok=True)
    platform.node = lambda: "gpu07"
    stale = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SDTUI_HOME"], os.environ["XDG_CONFIG_HOME"] = folder, folder
        runs = make_runs()
        for scene in scenes(runs):
            if names and scene.name not in names:
                continue
            svg, path = asyncio.run(take(scene)), OUT / f"{scene.name}.svg"
            if not checking:
                path.write_text(svg, encoding="utf-8")
                print(scene.name)
            elif fixed_words(svg) != fixed_words(path.read_text(encoding="utf-8")):
                stale.append(scene.name)
    for name in stale:
        print(f"docs/screens/{name}.svg shows other words than the console: make screenshots")
    return 1 if stale else 0


def fixed_words(svg: str) -> list[str]:
    """Return what a picture says, without what differs from one taking to the next: figures."""
    rows: dict[str, str] = {}
    for place, words in re.findall(r'<text [^>]*y="([\d.]+)"[^>]*>([^<]*)</text>', svg):
        rows[place] = rows.get(place, "") + html.unescape(words).replace("\xa0", " ")
    lines = [row for _place, row in sorted(rows.items(), key=lambda each: float(each[0]))]
    # The bars, the pane's titles and what the keys do: the first two rows, the rules, the last.
    kept = [lines[0], *(line for line in lines if line.startswith("──"))]
    return [*(" ".join(re.findall(r"[^\W\d_]{2,}", line)) for line in kept), lines[-1].strip()]


async def take(scene: Scene) -> str:
    """Play a scene and return what the screen shows."""
    async with console(scene.size, scene.settings) as it:
        await scene.story(it)
        await it.pilot.pause(0.5)
        it.app.clear_notifications()
        await it.pilot.pause(0.3)
        svg = it.app.export_screenshot(title="sdtui")
        return without_paths(svg)


def without_paths(svg: str) -> str:
    """Put an invented path, as long as it, in the place of this folder's and the home's."""
    for real, shown in ((str(ROOT), "/opt/sdtui"), (str(Path.home()), "/home")):
        svg = svg.replace(real, f"{shown}{'-' * 80}"[: len(real)])
    return svg


def scenes(runs: list[RunDir]) -> list[Scene]:
    """Return what is shown, in the order of the README."""
    dark = Settings(language="en", link="fast")
    chinese = Settings(language="zh_CN", link="fast", theme="sdtui-light")

    async def run(it: Driven) -> None:
        it.app.open_run(runs[0].id)
        await it.until("12", seconds=30)
        await it.pilot.pause(2)

    async def tasks(it: Driven) -> None:
        await it.press("down", "up")

    async def new(it: Driven) -> None:
        it.app.edit_task("demo")
        await it.pilot.pause(1)
        await it.press("f6")
        await it.until("480 images", seconds=60)

    return [
        Scene("run", (140, 40), dark, run),
        Scene("tasks", (110, 28), dark, tasks),
        Scene("new", (120, 34), dark, new),
        Scene("run-80x24", (80, 24), dark, run),
        Scene("run-zh", (140, 40), chinese, run),
    ]


# The runs.
def make_runs() -> list[RunDir]:
    """Make one run that trains, held by this process, and some that are over."""
    over: list[tuple[str, dict[str, Any]]] = [
        ("pokemon-512", {"last_step": STEPS}),
        ("flowers-768", {"state": "failed", "exit_code": 5, "cause": "out_of_memory",
                         "reason": "CUDA out of memory at step 41", "last_step": 41,
                         "remedy": "lower train_batch_size or set gradient_checkpointing"}),
        ("flowers-512", {"state": "stopped", "exit_code": 4, "last_step": 6_000,
                         "reason": "stopped by the console, saved at step 6000"}),
        ("birds-noise-offset", {"state": "failed", "exit_code": 6, "last_step": 812,
                                "reason": "the loss is not finite at step 812"}),
    ]  # fmt: skip
    now = time.time()
    live = _run("pokemon-512-ema", now - 1231)
    lock = locks.take(live.lock)
    assert lock is not None, "the folder is new"
    _living(live, now)
    made = [live]
    for back, (name, end) in enumerate(over, 1):
        run = _run(name, now - back * 7_300)
        _metrics(run, now - back * 7_300, int(end["last_step"]), rate=8.0)
        record = {"format": 1, "state": "done", "exit_code": 0, "cause": "done", "attempt": 1,
                  "reason": "training finished", "started": now - back * 7_300,
                  "ended": now - back * 7_300 + end["last_step"] / 8, "total_steps": STEPS,
                  "last_loss": 0.112 + back / 100, "images_per_s": 431.0}  # fmt: skip
        write_json(run.exit, record | end)
        made.append(run)
    return made


def _run(name: str, began: float) -> RunDir:
    run = RunDir(runs_root() / new_run_id(name, datetime.fromtimestamp(began).astimezone()))
    make_private(run.root)
    run.lock.touch(mode=0o600)
    run.task.write_text(
        f'name = "{name}"\n[gpu]\ntype = "NVIDIA-H800"\ncount = 2\n[train]\n'
        f"resolution = 512\ntrain_batch_size = 16\ngradient_accumulation_steps = 4\n"
        f"max_train_steps = {STEPS}\nlearning_rate = 1e-5\nuse_ema = true\n"
        f'mixed_precision = "bf16"\ncheckpointing_steps = 500\n'
    )
    launch = {"format": 1, "total_steps": STEPS, "cooperative": True, "argv": ["accelerate"]}
    write_json(run.launch, launch)
    return run


def _metrics(run: RunDir, began: float, steps: int, rate: float) -> None:
    chance = random.Random(run.id[16:])
    with run.metrics.open("w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            loss = 0.108 + 0.16 * math.exp(-step / 900) + chance.gauss(0, 0.012)
            line = {"at": began + step / rate, "attempt": 1, "step": step, "epoch": step / 6.5,
                    "loss": loss + (0.06 if chance.random() < 0.004 else 0), "lr": 1e-5,
                    "grad_norm": abs(chance.gauss(0.41, 0.05)), "images_per_s": 438.0,
                    "gpu_allocated": 54 * GIB, "gpu_peak": 58 * GIB}  # fmt: skip
            file.write(json.dumps(line) + "\n")


def _living(run: RunDir, now: float) -> None:
    began = now - 1231
    _metrics(run, began, DONE, rate=DONE / 1231)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    write_json(run.supervisor, {"format": 1, "pid": os.getpid(), "boot_id": boot,
                                "host": "gpu07", "started": began})  # fmt: skip
    write_json(run.state, {"format": 1, "phase": "running", "since": began, "attempt": 1,
                           "gpus": ["GPU-0", "GPU-1"]})  # fmt: skip
    events: list[dict[str, Any]] = [
        {"kind": "model", "name": "stable-diffusion-v1-5", "parameters": 859_520_964,
         "device": "NVIDIA H800", "precision": "bf16", "prediction_type": "epsilon"},
        {"kind": "data", "images": 833, "captions": 833, "fingerprint": "0" * 16},
        {"kind": "plan", "max_train_steps": STEPS, "effective_batch": 128, "world_size": 2,
         "steps_per_epoch": 6.5, "epochs": STEPS / 6.5, "seed": 42},
        {"kind": "phase", "phase": "training", "done": 0, "total": STEPS, "unit": "steps"},
    ]  # fmt: skip
    for step in range(500, DONE, 500):
        path = f"output/checkpoints/step-{step}"
        if step > DONE - 1600:
            make_private(run.root / path)
        events.append({"kind": "checkpoint", "step": step, "path": path, "size": 13 * GIB,
                       "seconds": 9.1, "at": began + step * 1231 / DONE})  # fmt: skip
        events.append({"kind": "sample", "step": step, "path": f"output/samples/step-{step}",
                       "count": 2, "at": began + step * 1231 / DONE + 1})  # fmt: skip
        _samples(run, step)
    lines = [{"at": began + 5 * n, "attempt": 1} | each for n, each in enumerate(events)]
    run.events.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    _gpus(run, now)
    _log(run, now)


def _samples(run: RunDir, step: int) -> None:
    folder = make_private(run.samples / f"step-{step}")
    rows = []
    for number, prompt in enumerate(PROMPTS):
        name = f"ema-{number:02d}.png"
        (folder / name).write_bytes(picture(step, number, smooth=True))
        rows.append({"file": name, "prompt": prompt, "weights": "ema", "seed": 42 + number})
    write_json(folder / "samples.json", {"format": 1, "step": step, "samples": rows})


def _gpus(run: RunDir, now: float) -> None:
    chance = random.Random(3)
    with run.gpu.open("w", encoding="utf-8") as file:
        for second in range(1231):
            gpus = [_gpu(index, second, chance) for index in range(2)]
            file.write(json.dumps({"at": now - 1231 + second, "gpus": gpus}) + "\n")


def _gpu(index: int, second: int, chance: random.Random) -> dict[str, Any]:
    busy = second > 40
    return {
        "index": index, "uuid": f"GPU-{index}", "name": "NVIDIA H800",
        "memory_used": int((61.2 - 0.3 * index if busy else 2) * GIB), "memory_reserved": GIB // 2,
        "memory_total": int(79.6 * GIB), "utilization": chance.randint(93, 99) if busy else 0,
        "power_w": chance.uniform(580, 690) if busy else 95.0, "temperature_c": 69 + 2 * index,
        "sm_clock_mhz": 1755, "throttle": ["power cap"] if chance.random() < 0.1 else [],
        "ecc_uncorrected": 0, "processes": [{"pid": os.getpid(), "memory": 60 * GIB}],
        "lost": False,
    }  # fmt: skip


def _log(run: RunDir, now: float) -> None:
    with run.log.open("w", encoding="utf-8") as file:
        for step in range(10, DONE + 1, 10):
            stamp = time.strftime("%H:%M:%S", time.localtime(now - (DONE - step) * 1231 / DONE))
            loss = 0.108 + 0.16 * math.exp(-step / 900)
            file.write(f"{stamp} INFO step={step} loss={loss:.4f} lr=1.0e-05 images/s=438\n")
            if step == DONE - 40:
                file.write(f"{stamp} WARNING the data loader waited 0.31 s for 2 workers\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
