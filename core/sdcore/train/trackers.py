"""TensorBoard and its like, where they are installed; ``metrics.jsonl`` never depends on them."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sdcore.runs.files import read_json
from sdcore.runs.paths import make_private
from sdcore.task.train_spec import TrainSpec
from sdcore.train.report import Report

# The names of --report_to, and the modules any one of which they need.
_NEEDS = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "comet_ml": ("comet_ml",),
}


class Picture(NamedTuple):
    """A sample and its prompt."""

    image: Image.Image
    prompt: str


class Trackers:
    """Sends scalars and samples to what ``report_to`` names. Rank 0 alone has any."""

    def __init__(self, spec: TrainSpec, logs: Path, report: Report, *, leads: bool) -> None:
        self._report = report
        self._open: dict[str, Any] = {}
        for name in _wanted(spec.report_to, report) if leads else []:
            try:
                self._open[name] = _start(name, spec, logs)
            except Exception as error:  # noqa: BLE001 - told; a tracker must not cost the run
                report.warn(f"{name} is left out: {type(error).__name__}: {error}")

    def log(self, values: dict[str, float], step: int) -> None:
        """Send scalars; one that fails is told once and left out from then on."""
        self._each(lambda _name, tracker: tracker.log(values, step=step))

    def log_samples(self, folder: Path, step: int) -> None:
        """Send the pictures of a sampling, to those trackers that take pictures.

        Under the reference's tag, ``validation``, stand those of the weights that will be
        published: of the average, where there is one; under ``validation_raw`` then the others.

        Args:
            folder: As ``Sampler.draw`` wrote it.
            step: That the pictures are of.
        """
        self._each(lambda name, tracker: _send(name, tracker, _tagged(folder), step))

    def _each(self, work: Callable[[str, Any], None]) -> None:
        for name, tracker in list(self._open.items()):
            try:
                work(name, tracker)
            except Exception as error:  # noqa: BLE001 - told; a tracker must not cost the run
                del self._open[name]
                self._report.warn(f"{name} is left out from now on: {error}")

    def close(self) -> None:
        """Let each finish its own files."""
        for name, tracker in self._open.items():
            try:
                tracker.finish()
            except Exception as error:  # noqa: BLE001 - told; the run is over and saved
                self._report.warn(f"{name} did not close: {error}")


def _wanted(report_to: str, report: Report) -> list[str]:
    if report_to == "none":
        return []
    names = list(_NEEDS) if report_to == "all" else report_to.replace(" ", "").split(",")
    usable = []
    for name in names:
        modules = _NEEDS.get(name)
        if modules is None:
            report.warn(f"report_to {name} is not known; {', '.join(_NEEDS)}, all and none are")
        elif any(importlib.util.find_spec(module) for module in modules):
            usable.append(name)
        elif report_to != "all":
            report.warn(f"report_to {name} is left out: it is not installed (pip install {name}); "
                        "the metrics are in metrics.jsonl")  # fmt: skip
    return usable


def _start(name: str, spec: TrainSpec, logs: Path) -> Any:
    from accelerate import PartialState  # noqa: PLC0415 - 1 s, and most runs need none of it
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS  # noqa: PLC0415

    PartialState()  # trackers ask it whether this is the main process
    kind = LOGGER_TYPE_TO_CLASS[name]
    if kind.requires_logging_directory:
        make_private(logs)
        tracker = kind(spec.tracker_project_name, logs)
    else:
        tracker = kind(spec.tracker_project_name)
    tracker.start()
    tracker.store_init_configuration(
        {k: v if isinstance(v, int | float | str | bool) else str(v)
         for k, v in spec.model_dump().items()}
    )  # fmt: skip
    return tracker


def _tagged(folder: Path) -> dict[str, list[Picture]]:
    """Return the pictures of a sampling by tag."""
    listed = (read_json(folder / "samples.json") or {})["images"]
    averaged = any(entry["weights"] == "ema" for entry in listed)
    found: dict[str, list[Picture]] = {}
    for entry in listed:
        tag = "validation_raw" if averaged and entry["weights"] == "raw" else "validation"
        with Image.open(folder / entry["file"]) as image:
            found.setdefault(tag, []).append(Picture(image.convert("RGB"), entry["prompt"]))
    return found


def _send(name: str, tracker: Any, found: dict[str, list[Picture]], step: int) -> None:
    for tag, pictures in found.items():
        if name == "tensorboard":
            stacked_NHWC = np.stack([np.asarray(image) for image, _ in pictures])
            tracker.log_images({tag: stacked_NHWC}, step, dataformats="NHWC")
        elif name == "wandb":
            kind = importlib.import_module("wandb").Image
            shown = [kind(p.image, caption=f"{i}: {p.prompt}") for i, p in enumerate(pictures)]
            tracker.log({tag: shown}, step=step)
