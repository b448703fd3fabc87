"""Which of the shipped presets a host can run, and which of them suits it best."""

from collections.abc import Sequence

from sdcore.errors import SdError
from sdcore.task.estimate import FamilyName, memory_needed, unet_parameters
from sdcore.task.presets import ShippedPreset, load_preset, shipped
from sdcore.task.spec import TaskSpec

_RESERVE = 1.2  # times the need, which is an estimate


def suited(memories: Sequence[int | None]) -> list[tuple[ShippedPreset, bool]]:
    """Return the shipped presets, and of each whether this host can run it; the best one first.

    Those that can be run come first; of them those that use the GPUs, whole models before
    adapters, which are for GPUs that hold no more, and then the most images at a time. Waits for
    the disk.

    Args:
        memories: Bytes of each GPU of the host; one of which that is not known counts as small.

    Raises:
        OSError: A preset cannot be read.
    """
    rated = []
    for preset in shipped():
        task = _task_of(preset)
        fits = task is not None and _fits(task, _family(preset), memories)
        rated.append((fits, _worth(task) if task and fits else (0, False, 0), preset))
    rated.sort(key=lambda row: row[:2], reverse=True)
    return [(preset, fits) for fits, _worth_of_it, preset in rated]


def _worth(task: TaskSpec) -> tuple[int, bool, int]:
    """Return what ranks a preset that fits: the larger, the better it uses the host."""
    train = task.effective_train()
    return min(1, task.gpu.count), not train.train_lora, task.gpu.count * train.train_batch_size


def _task_of(preset: ShippedPreset) -> TaskSpec | None:
    try:
        return load_preset(preset.path).task
    except SdError:  # what the user's own defaults break; loading it tells why
        return None


def _family(preset: ShippedPreset) -> FamilyName:
    """Say which models a shipped preset is for: those for SDXL say so in their name."""
    return "SDXL" if preset.name.startswith("sdxl-") else "SD"


def _fits(task: TaskSpec, family: FamilyName, memories: Sequence[int | None]) -> bool:
    """Say whether every GPU of the host is large enough: any of them may be taken."""
    if task.gpu.count == 0:
        return True
    if task.command is not None or len(memories) < task.gpu.count:
        return False
    need = _RESERVE * memory_needed(task.effective_train(), unet_parameters(family), family)
    return all(size is not None and need <= size for size in memories)
