"""What it costs a training that it is supervised and watched.

    python benchmarks/attached.py [--quick]

One run of the tiny model of ``train.py``, started as a person starts it, with a console open on it
that looks four times a second. In turns of some seconds the supervisor, its guard and the console
move or are stopped by the kernel, and the training goes on alone; a figure is the ratio of the
medians of a step's time in two turns that follow each other. Goal: at most 1 % slower.
"""

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

from train import BATCH, IMAGES, RESOLUTION, SIDE, machine, row  # noqa: E402
from trainers import told  # noqa: E402

from support.pty_console import PtyConsole  # noqa: E402
from support.tiny_model import PLATFORM, make_dataset, make_pipeline  # noqa: E402

_SLICE = 5.0  # s
_SETTLE = 0.5  # s of a turn that are left out: what was stopped catches up
_PRESET = """
name = "watched"
[gpu]
count = 0
[train]
pretrained_model_name_or_path = "{folder}/model"
train_data_dir = "{folder}/data"
resolution = {resolution}
train_batch_size = {batch}
max_train_steps = 100000
center_crop = true
random_flip = true
use_ema = true
report_to = "none"
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 minutes instead of 6")
    turns = 10 if parser.parse_args().quick else 34
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pipeline(folder / "model", sizes=PLATFORM)
        make_dataset(folder / "data", IMAGES, SIDE)
        preset = folder / "watched.toml"
        preset.write_text(_PRESET.format(folder=folder, resolution=RESOLUTION, batch=BATCH))
        os.environ |= {"SDTUI_HOME": f"{folder}/home", "XDG_CONFIG_HOME": f"{folder}/config",
                       "OMP_NUM_THREADS": "1"}  # fmt: skip
        print(machine(), flush=True)
        measure(preset, turns)
    return 0


def measure(preset: Path, turns: int) -> None:
    """Start the run, watch it in turns, and end it."""
    sdtui = [sys.executable, "-m", "sdtui"]
    subprocess.run([*sdtui, "--run", str(preset), "--detach"], check=True)
    [run] = (Path(os.environ["SDTUI_HOME"]) / "runs").glob("*-watched")
    spans: list[tuple[bool, float, float]] = []
    try:
        with PtyConsole(140, 40) as console:
            console.until("watched")
            console.press("\r")
            console.until(lambda: len(times_of(run)) > 5, 120)
            watchers = [console.process.pid, *watching(run)]
            for turn in range(2 * turns):
                begin = time.time()
                time.sleep(_SLICE)
                spans.append((turn % 2 == 0, begin + _SETTLE, time.time()))
                for pid in watchers:
                    os.kill(pid, signal.SIGSTOP if turn % 2 == 0 else signal.SIGCONT)
    finally:
        for pid in watching(run):
            os.kill(pid, signal.SIGCONT)
        subprocess.run([*sdtui, "stop", "last", "--now"], check=False)
    times = list(itertools.pairwise(times_of(run)))
    medians = []
    for watched, begin, end in spans:
        inside = [b - a for a, b in times if begin <= a and b <= end]
        medians.append((watched, statistics.median(inside)))
    middle = statistics.median(seconds for watched, seconds in medians if not watched)
    row("a step alone", f"{1000 * middle:.1f} ms")
    pairs = zip(medians[::2], medians[1::2], strict=True)
    row("a step watched / alone (goal 1.01)", told([a[1] / b[1] for a, b in pairs]))


def times_of(run: Path) -> list[float]:
    """Return when each step was made, in seconds since the epoch."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line)["at"] for line in lines]


def watching(run: Path) -> list[int]:
    """Return the supervisor and, of its children, the guard."""
    supervisor = json.loads((run / "supervisor.json").read_text())["pid"]
    task = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    children = [int(pid) for pid in task.read_text().split()]
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
    return [supervisor, *(pid for pid, name in names.items() if name.startswith("sdtui"))]


if __name__ == "__main__":
    sys.exit(main())
