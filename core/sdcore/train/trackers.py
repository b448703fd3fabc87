"""TensorBoard and its like, where they are installed; ``metrics.jsonl`` never depends on them."""

import importlib.util
from pathlib import Path
from typing import Any

from sdcore.runs.paths import make_private
from sdcore.task.train_spec import TrainSpec
from sdcore.train.report import Report

# The names of --report_to, and the modules any one of which they need.
_NEEDS = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "comet_ml": ("comet_ml",),
}


class Trackers:
    """Sends scalars to what ``report_to`` names. Rank 0 alone has any."""

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
        for name in list(self._open):
            try:
                self._open[name].log(values, step=step)
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
