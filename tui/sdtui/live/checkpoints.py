"""The checkpoints a run has on disk, with what its events say of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sdcore.runs.fields import Fields
from sdcore.runs.paths import RunDir, step_folders, step_of


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint that is whole on disk.

    Attributes:
        step: Optimizer steps completed.
        at: When it was saved, in seconds since the epoch.
        size: Bytes.
        seconds: How long saving took.
        val_loss: On the held-out images at this step, of the average where there is one.
        best: Whether no other of those on disk has a lower one.
    """

    step: int
    at: float | None = None
    size: int | None = None
    seconds: float | None = None
    val_loss: float | None = None
    best: bool = False


def checkpoints(run: RunDir, events: Sequence[dict[str, Any]]) -> tuple[Checkpoint, ...]:
    """Return what is on disk now, by rising step; rotated ones are gone."""
    try:
        steps = [step_of(folder) for folder in step_folders(run.checkpoints)]
    except OSError:  # removed while it was listed
        return ()
    told, measured = {}, {}
    for record in events:
        event = Fields(record)
        if event.text("kind") == "checkpoint":
            told[event.whole("step")] = event
        elif event.text("kind") == "validation":
            measured[event.whole("step")] = _val_loss(event)
    known = {step: loss for step in steps if (loss := measured.get(step)) is not None}
    best = min(known, key=lambda step: known[step]) if len(known) > 1 else None
    found = []
    for step in steps:
        assert step is not None, "step_folders returns no others"
        event = told.get(step, Fields(None))
        found.append(
            Checkpoint(
                step,
                event.moment("at"),
                event.whole("size"),
                event.moment("seconds"),
                known.get(step),
                best=step == best,
            )
        )
    return tuple(found)


def _val_loss(event: Fields) -> float | None:
    told = event.number("ema") if event.number("ema") is not None else event.number("loss")
    return told if told is not None and math.isfinite(told) else None
