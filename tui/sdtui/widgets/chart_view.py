"""How a chart is looked at: metric, scales, smoothing.

Pure values and what keys make of them; kept in the settings, so that a chart opens as it was left.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sdtui.language import N_

# Name of a column, its short name in the title, what it is in words.
METRICS: dict[str, tuple[str, str]] = {
    "loss": ("train_loss", N_("Training loss")),
    "val_loss": ("val_loss", N_("Validation loss")),
    "lr": ("lr", N_("Learning rate")),
    "grad_norm": ("grad_norm", N_("Gradient norm")),
    "images_per_s": ("images/s", N_("Images per second")),
    "gpu_allocated": ("gpu_allocated", N_("GPU memory held by torch, in bytes")),
}
X_AXES = {"step": N_("steps"), "time": N_("time"), "epoch": N_("epochs")}
FITS = {"most": N_("without rare spikes"), "all": N_("all points"), "line": N_("the line alone")}
DECAYS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999)


@dataclass(frozen=True, slots=True)
class ChartState:
    """How the chart is drawn.

    Attributes:
        metric: Key of ``METRICS``.
        x: Key of ``X_AXES``.
        log: Logarithmic y.
        decay: Of the smoothing, one of ``DECAYS``.
        both: Smoothed in both directions, without lag.
        fit: Key of ``FITS``: what the y axis makes room for.
        raw: The raw points are drawn.
    """

    metric: str = "loss"
    x: str = "step"
    log: bool = False
    decay: float = 0.98
    both: bool = False
    fit: str = "most"
    raw: bool = True

    def smoother(self, by: int) -> "ChartState":
        """Return the state with more smoothing, or less for a negative ``by``."""
        place = DECAYS.index(self.decay) + by
        return replace(self, decay=DECAYS[min(max(place, 0), len(DECAYS) - 1)])


def state_from(kept: Mapping[str, Any]) -> ChartState:
    """Return the state that settings describe; what makes no sense there counts as absent."""
    allowed: dict[str, tuple[Any, ...]] = {
        "metric": tuple(METRICS), "x": tuple(X_AXES), "fit": tuple(FITS), "decay": DECAYS,
        "log": (True, False), "both": (True, False), "raw": (True, False),
    }  # fmt: skip
    taken = {
        each.name: kept[each.name]
        for each in fields(ChartState)
        if kept.get(each.name) in allowed[each.name]
    }
    return replace(ChartState(), **taken)


def kept_from(state: ChartState) -> dict[str, Any]:
    """Return what of the state differs from the default, for the settings."""
    default = asdict(ChartState())
    return {key: value for key, value in asdict(state).items() if value != default[key]}


def next_of(names: Mapping[str, Any] | list[str], now: str, by: int = 1) -> str:
    """Return the name after ``now``, the first after the last."""
    order = list(names)
    return order[(order.index(now) + by) % len(order)] if now in order else order[0]
