"""What the trainer decides where a setting leaves it to it, each told with its reason.

Both decisions keep the effective batch and the random numbers of every sample; sums are rounded
in another order, so losses agree to about 1e-6. A resume keeps what its checkpoint was trained
with: decided anew on a fuller device, it would differ in bits from the run that never stopped.
"""

from dataclasses import replace

import torch

from sdcore.errors import UsageError
from sdcore.task.agreement import conflict
from sdcore.task.estimate import USABLE, FamilyName, memory_needed
from sdcore.task.train_spec import TrainSpec
from sdcore.train import memory
from sdcore.train.families import Family
from sdcore.train.session import Job
from sdcore.units import size


def settle_resolution(job: Job, family: Family) -> Job:
    """Return the job with the size the model was made for, where none was given.

    Raises:
        UsageError: Other settings make no sense with that size.
    """
    if "resolution" in job.spec.model_fields_set or job.spec.resolution == family.resolution:
        return job
    side, reason = family.resolution, f"it is not given, and {family.name} was made for it"
    spec = job.spec.model_copy(update={"resolution": side})
    problem = conflict(spec)
    if problem is not None:
        raise UsageError(
            f"resolution {side}: {reason}", cause=problem, remedy="pass --resolution as well"
        )
    job.report.choice("resolution", str(side), reason)
    return replace(job, spec=spec)


def settle(job: Job, parameters: int, family: FamilyName) -> Job:
    """Decide what does not need the device.

    Args:
        job: Its settings may leave gradient checkpointing and the batch to us.
        parameters: Of the U-Net.
        family: Of the model.

    Returns:
        The job with every setting decided but the split of the batch of a new run; for that
        see ``probing``.
    """
    if job.spec.gradient_checkpointing == "auto":
        free = free_memory(job.world.device)
        on, because = checkpointing(job.spec, job.precision.mode, parameters, free, family)
        if not on and _before(job, "gradient_checkpointing") is True:
            on, because = True, "the checkpoint was trained with it"
        # A rank on a fuller device would need it: then all have it, for equal speed and bits.
        wish = torch.tensor([float(on)], device=job.world.device)
        if float(job.world.sum_(wish)) > 0 and not on:
            on, because = True, "the GPU of another process is too full for less"
        job.report.choice("gradient_checkpointing", "on" if on else "off", because)
        job = replace(job, spec=job.spec.model_copy(update={"gradient_checkpointing": on}))
    if job.spec.auto_batch_size and job.resumption is not None:
        job = replace(job, spec=_same_split(job))
    return job


def checkpointing(
    spec: TrainSpec, precision: str, parameters: int, free: int | None, family: FamilyName = "SD"
) -> tuple[bool, str]:
    """Say whether activations must be computed twice, and why. Pure.

    Args:
        spec: The settings.
        precision: Decided: ``no``, ``fp16`` or ``bf16``.
        parameters: Of the U-Net.
        free: Bytes of the device; None where nobody says.
        family: Of the model.
    """
    sure = spec.model_copy(update={"gradient_checkpointing": False, "mixed_precision": precision})
    need = memory_needed(sure, parameters, family)
    if free is None:
        return True, "it is not known how much memory is free"
    if need <= USABLE * free:
        return False, f"about {size(need)} are needed without it and {size(free)} are free"
    return True, f"about {size(need)} would be needed without it and {size(free)} are free"


def free_memory(device: torch.device) -> int | None:
    """Return the bytes this process may still take on its device; those it has cached count."""
    if device.type != "cuda":
        return memory.available()
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + held)


def _before(job: Job, name: str) -> object:
    return job.resumption.progress.spec.get(name) if job.resumption is not None else None


def _same_split(job: Job) -> TrainSpec:
    """Return the settings with the checkpoint's split of the same batch, if it has one."""
    spec = job.spec
    batch, passes = _before(job, "train_batch_size"), _before(job, "gradient_accumulation_steps")
    if not isinstance(batch, int) or not isinstance(passes, int):
        return spec
    if batch * passes != spec.train_batch_size * spec.gradient_accumulation_steps:
        return spec
    job.report.choice("train_batch_size", f"{batch} x {passes}", "the checkpoint was trained so")
    return split_of(spec, batch, passes)


def split_of(spec: TrainSpec, batch: int, passes: int) -> TrainSpec:
    """Return the settings with another split of the batch."""
    return spec.model_copy(
        update={"train_batch_size": batch, "gradient_accumulation_steps": passes}
    )
