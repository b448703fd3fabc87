"""The checkpoints a run has on disk, with what its events say of them."""

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
    """

    step: int
    at: float | None = None
    size: int | None = None
    seconds: float | None = None


def checkpoints(run: RunDir, events: Sequence[dict[str, Any]]) -> tuple[Checkpoint, ...]:
    """Return what is on disk now, by rising step; rotated ones are gone."""
    try:
        steps = [step_of(folder) for folder in step_folders(run.checkpoints)]
    except OSError:  # removed while it was listed
        return ()
    told = {}
    for record in events:
        event = Fields(record)
        if event.text("kind") == "checkpoint":
            told[event.whole("step")] = event
    found = []
    for step in steps:
        assert step is not None, "step_folders returns no others"
        event = told.get(step, Fields(None))
        found.append(
            Checkpoint(step, event.moment("at"), event.whole("size"), event.moment("seconds"))
        )
    return tuple(found)
