"""What TensorBoard and W&B are sent, read back from where they keep it."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from PIL import Image

from sdcore.launch.planner import ALONE
from sdcore.train import trackers

SAMPLES = ["--validation_prompts", "one", "two", "--validation_steps", "2",
           "--validation_inference_steps", "1", "--validation_split", "2"]  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment of a run: accelerate must not look for other processes there."""
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    PartialState._reset_state()  # an earlier test may have asked


def kept(logs: Path) -> dict[tuple[str, int], Any]:
    """Every value of the event files by tag and step."""
    from tensorboard.backend.event_processing.event_file_loader import (  # noqa: PLC0415 - 1 s
        EventFileLoader,
    )

    return {
        (value.tag, event.step): value
        for path in logs.rglob("events.out.tfevents*")
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }


def pictures(folder: Path, weights: str) -> Any:
    """The samples of a step side by side, (H, W, 3)."""
    return np.hstack(
        [
            np.asarray(Image.open(path).convert("RGB"))
            for path in sorted(folder.glob(f"{weights}-*"))
        ]
    )


def test_tensorboard_shows_losses_and_every_sample_of_each_step(train: Any) -> None:
    """Whoever comes from the reference looks for the pictures under its tag."""
    done = train("--report_to", "tensorboard", "--use_ema", *SAMPLES)
    assert done.code == 0, done.err
    assert "left out" not in done.err
    found = kept(done.out / "logs")
    measured = {step: found["val_loss", step].tensor.float_val[0] for step in (0, 2, 3)}
    told = {event["step"]: event["loss"] for event in done.events("validation")}
    assert measured == pytest.approx(told)
    losses = {step: found["train_loss", step].tensor.float_val[0] for step in (1, 2, 3)}
    assert losses == pytest.approx({s: line["loss"] for s, line in done.metrics().items()})
    samples = {("validation", 0): "base", ("validation", 2): "ema", ("validation_raw", 2): "raw",
               ("validation", 3): "ema", ("validation_raw", 3): "raw"}  # fmt: skip
    assert {key for key in found if key[0].startswith("validation")} == set(samples)
    for (tag, step), weights in samples.items():
        sent = Image.open(io.BytesIO(found[tag, step].tensor.string_val[2]))
        shown = pictures(done.out / "samples" / f"step-{step}", weights)
        assert np.array_equal(np.asarray(sent.convert("RGB")), shown), (tag, step)


def test_wandb_gets_the_samples_with_their_prompts(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the reference sends them; a stand-in for wandb, which needs an account."""
    sent: dict[tuple[str, int], Any] = {}

    class Tracker:
        requires_logging_directory = False

        def __init__(self, project: str) -> None:
            self.log = lambda values, step: sent.update({(k, step): v for k, v in values.items()})
            self.start = self.finish = lambda: None
            self.store_init_configuration = lambda _values: None

    picture = SimpleNamespace(Image=lambda image, caption: (image.size, caption))
    monkeypatch.setitem(sys.modules, "wandb", picture)
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Tracker)
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda _name: True)
    done = train("--report_to", "wandb", *SAMPLES)
    assert done.code == 0, done.err
    assert sent["validation", 2] == [((32, 32), "0: one"), ((32, 32), "1: two")]
    assert ("validation_raw", 2) not in sent
    assert {step for tag, step in sent if tag == "val_loss"} == {0, 2, 3}


def test_a_tracker_that_takes_no_picture_costs_a_warning_and_no_more(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LOGGER_TYPE_TO_CLASS["tensorboard"], "log_images", full)
    done = train("--report_to", "tensorboard", *SAMPLES)
    assert done.code == 0, done.err
    texts = [event["text"] for event in done.events("warning")]
    assert sum("tensorboard is left out from now on" in text for text in texts) == 1
