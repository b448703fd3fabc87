"""Presets of real runs for tests that go through the whole program, and what they look at."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from sdcore.runs import locks
from sdcore.runs.paths import RunDir
from sdcore.runs.store import all_runs
from support.fake_runs import sdtui
from support.tiny_model import make_dataset, make_pipeline

T = TypeVar("T")

_TRAINING = """\
name = "tiny"

[gpu]
count = 0

[[mounts]]
source = "{folder}/data"
target = "/mnt/dataset"

[[mounts]]
source = "{folder}/model"
target = "/mnt/model"

[env]
resolution = "32"
batch_size = "2"
max_train_steps = "{steps}"

[train]
seed = 0
report_to = "none"
"""
# Goes on until it is told that it is enough, and writes down every signal that reaches it.
_BEATING = """\
name = "beats"
command = '''
for s in HUP INT QUIT TERM; do trap "echo $s >> $OUTPUT_DIR/signals" $s; done
while [ ! -e $OUTPUT_DIR/enough ]; do echo beat >> $OUTPUT_DIR/beats; sleep 0.05; done
'''

[gpu]
count = 0
"""


def training_preset(folder: Path, steps: int) -> str:
    """Make model, data and preset of a real training: 20 to 100 steps a second on one core."""
    make_pipeline(folder / "model")
    make_dataset(folder / "data", count=6)
    preset = folder / "tiny.toml"
    preset.write_text(_TRAINING.format(folder=folder, steps=steps))
    return str(preset)


def beating_preset(folder: Path) -> str:
    """Make a preset whose run goes on until ``enough`` stands in its output folder."""
    preset = folder / "beats.toml"
    preset.write_text(_BEATING)
    return str(preset)


def until(probe: Callable[[], T | None], seconds: float = 60.0) -> T:
    """Return the first true answer of ``probe``."""
    end = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < end, f"nothing came within {seconds} s"
        time.sleep(0.02)
    return answer


def the_run() -> RunDir:
    """Return the only run there is."""
    (run,) = all_runs()
    return run


def grows(path: Path) -> bool:
    """Say whether a file that a living run writes still grows."""
    size = path.stat().st_size
    return until(lambda: path.stat().st_size > size)


def end_all_runs() -> None:
    """End what a failed test left."""
    for run in all_runs():
        if locks.is_held(run.lock):
            sdtui("stop", run.id, "--kill")


@pytest.fixture
def few_threads(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give a trainer one core, because tests run side by side; end the runs that are left."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    end_all_runs()
