"""The arithmetic of a run before it starts: steps, epochs, disk, memory. Pure."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from sdcore import units
from sdcore.task.estimate import (
    WEIGHT,
    FamilyName,
    checkpoint_size,
    memory_expected,
    pipeline_size,
    trained,
)
from sdcore.task.train_spec import TrainSpec


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What the run will do and need. Sizes in bytes; None where it cannot be known yet."""

    images: int | None
    effective_batch: int
    max_train_steps: int | None
    steps_per_epoch: float | None
    epochs: float | None
    checkpoint_size: int | None
    checkpoint_count: int | None
    disk_needed: int | None
    disk_free: int
    memory_needed: int | None
    memory_total: int | None
    device: str

    def to_record(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the plan in sentences, one a line."""
        rows = [f"effective batch {self.effective_batch} on {self.device}"]
        if self.max_train_steps is not None:
            row = f"{self.max_train_steps:,} steps"
            if self.epochs is not None and self.steps_per_epoch is not None:
                row += f" = {units.number(self.epochs)} epochs of {self.steps_per_epoch:.4g} steps"
            rows.append(row)
        if self.checkpoint_size is not None and self.disk_needed is not None:
            rows.append(
                f"checkpoints of about {units.size(self.checkpoint_size)}, "
                f"{units.size(self.disk_needed)} in all; {units.size(self.disk_free)} free"
            )
        if self.memory_needed is not None:
            row = f"about {units.size(self.memory_needed)} of memory"
            if self.memory_total is not None:
                row += f" of {units.size(self.memory_total)}"
            rows.append(row + " (estimate)")
        return rows


def make_plan(
    train: TrainSpec,
    *,
    images: int | None,
    parameters: int | None,
    processes: int,
    device: str,
    disk_free: int,
    memory_total: int | None,
    family: FamilyName = "SD",
) -> PlanFacts:
    """Work out steps, epochs, disk and memory.

    Args:
        train: The trainer's settings, platform variables applied.
        images: Usable rows of the data set.
        parameters: Of the U-Net.
        processes: Ranks; each sees ``train_batch_size`` images per pass.
        device: Words for the device.
        disk_free: Bytes free where the run directory lies.
        memory_total: Bytes of the device, or of the host for a CPU run.
        family: Of the model.
    """
    batch = train.train_batch_size * train.gradient_accumulation_steps * processes
    per_epoch = images / batch if images else None
    steps = train.max_train_steps
    if steps is None and images:
        steps = max(1, math.ceil(images * train.num_train_epochs / batch))
    size = checkpoint_size(train, parameters, family) if parameters else None
    kept = _kept(train, steps)
    needed = None
    if size is not None and parameters is not None and kept is not None:
        # One more than is kept: the new one is whole before the oldest goes.
        adapters = WEIGHT * trained(train, parameters, family)
        result = adapters if train.train_lora else pipeline_size(parameters, family)
        needed = size * (kept + 1) + result
    return PlanFacts(
        images=images,
        effective_batch=batch,
        max_train_steps=steps,
        steps_per_epoch=per_epoch,
        epochs=steps / per_epoch if steps and per_epoch else None,
        checkpoint_size=size,
        checkpoint_count=kept,
        disk_needed=needed,
        disk_free=disk_free,
        memory_needed=memory_expected(train, parameters, memory_total, family)
        if parameters
        else None,
        memory_total=memory_total,
        device=device,
    )


def _kept(train: TrainSpec, steps: int | None) -> int | None:
    if steps is None:
        return train.checkpoints_total_limit
    written = math.ceil(steps / train.checkpointing_steps)  # the last step always has one
    return min(written, train.checkpoints_total_limit or written)
