"""What is decided by the kind of machine alone, each told with its reason and each to be pinned.

What depends on memory or is found by trial is decided in ``choices`` and ``probing``.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from sdcore.train.session import Job
from sdcore.units import count

_MOST_THREADS = 16


class Decision(NamedTuple):
    """A value for a setting that was left to us.

    Attributes:
        setting: Its name.
        value: As the setting takes it.
        because: The reason.
    """

    setting: str
    value: Any
    because: str


def decisions(settings: Mapping[str, Any], device: str | None, mode: str | None) -> list[Decision]:
    """Decide what changes the bits of a step, as far as it is left to us. Pure.

    Args:
        settings: By name, of this training or of a checkpoint.
        device: ``cuda`` or ``cpu``; None where a checkpoint does not say.
        mode: ``no``, ``fp16`` or ``bf16``; None where a checkpoint does not say.
    """
    found = []
    if settings["memory_format"] == "auto":
        found.append(Decision("memory_format", *_memory_format(settings, device, mode)))
    if settings["fused_optimizer"] == "auto" and _is_torchs(settings):
        because = "one kernel updates all weights and reads them once"
        found.append(Decision("fused_optimizer", True, because))
    return found


def settle(job: Job) -> Job:
    """Decide and tell; the job that comes back has nothing left at ``auto`` of what is here."""
    spec, device = job.spec, job.world.device.type
    found = decisions(spec.model_dump(mode="json"), device, job.precision.mode)
    if spec.dataloader_num_workers is None:
        found.insert(0, Decision("dataloader_num_workers", *loader_threads()))
    for name, value, because in (*found, *_without_setting(job)):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        job.report.choice(name, shown, because)
    return replace(job, spec=spec.model_copy(update={d.setting: d.value for d in found}))


def tell_caching(job: Job, *, cached: bool) -> None:
    """Tell whether images are encoded once or at every visit, unless that was pinned."""
    if not job.spec.cache_latents:
        return
    if cached:
        because = "a centre crop never changes"
        if not job.spec.center_crop:
            because = "nothing is cut off any image, so no crop differs"
        job.report.choice("cache_latents", "true", because)
    else:
        because = "crops are random: each visit is encoded anew; center_crop = true ends that"
        job.report.choice("cache_latents", "false", because)


def loader_threads() -> tuple[int, str]:
    """Return how many threads prepare images, and why."""
    cores = len(os.sched_getaffinity(0))
    if cores > _MOST_THREADS:
        return _MOST_THREADS, f"more gain nothing, with {cores} cores"
    return cores, f"this process may use {count(cores, 'core')}"


def _memory_format(
    settings: Mapping[str, Any], device: str | None, mode: str | None
) -> tuple[str, str]:
    if device != "cuda":
        return "contiguous", "channels_last gains nothing on a CPU"
    # It does so without a word: the average, whose order would stay, would then be slow.
    if settings["use_8bit_adam"] and not settings["train_lora"]:
        return "contiguous", "bitsandbytes puts the weights it trains into this order"
    if mode == "no":
        return "contiguous", "channels_last is for half precision, and convolutions are in fp32"
    return "channels_last", "tensor cores take half-precision convolutions in this order"


def _is_torchs(settings: Mapping[str, Any]) -> bool:
    return settings["optimizer"] == "adamw" and not settings["use_8bit_adam"]


def _without_setting(job: Job) -> Iterator[Decision]:
    """Yield what another setting pins: xformers; no average, or one in host memory."""
    if not job.spec.enable_xformers_memory_efficient_attention:
        yield Decision("attention", "SDPA", "torch itself picks its kernel by device and shape")
    if job.spec.use_ema and not job.spec.offload_ema:
        because = "it passes over all weights once and holds no third copy of them"
        yield Decision("ema", "one fused update", because)
