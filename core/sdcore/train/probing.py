"""Finds by trial how many images of a step fit into one forward pass, and are fastest so.

Twice the images and half the passes make the same step: a sample's random numbers follow from its
global position, which no split changes. Dropout inside the network is the exception, and there
nothing is tried.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch

from sdcore.train.choices import split_of
from sdcore.train.footprint import state_bytes
from sdcore.train.loop import Loop
from sdcore.train.outcome import is_out_of_memory
from sdcore.train.pinning import wait_for
from sdcore.train.step import predictor
from sdcore.units import rate

_WARM, _TIMED = 2, 3  # passes: cuDNN picks its kernels in the first
_GAIN = 1.03  # a larger pass must be this much faster, or it only costs memory


class Trial(NamedTuple):
    """One size that was tried."""

    batch: int
    images_per_s: float


def settle(loop: Loop) -> None:
    """Choose the split of a step's images over passes, and give it to the loop.

    Nothing else of the loop changes: no weight, no optimizer state, no position.
    """
    job = loop.job
    spec = job.spec
    if not spec.auto_batch_size or job.resumption is not None:
        return
    batch, passes = spec.train_batch_size, spec.gradient_accumulation_steps
    reason = _reason_against(loop)
    if reason is None:
        trials = ladder(sizes(batch, passes), lambda size: _together(loop, size))
        best = max(trials, key=lambda trial: trial.images_per_s, default=Trial(batch, 0.0))
        batch, passes = best.batch, batch * passes // best.batch
        told = ", ".join(f"{t.batch}: {rate(t.images_per_s, 'images')}" for t in trials)
        reason = f"tried {told}" if trials else f"{batch} alone do not fit"
        loop.job = replace(job, spec=split_of(spec, batch, passes))
    job.report.choice("train_batch_size", f"{batch} x {passes}", reason)


def sizes(batch: int, passes: int) -> list[int]:
    """Return the sizes to try: the one that was set, doubled while the passes can be halved."""
    found = [batch]
    while passes % 2 == 0:
        batch, passes = 2 * batch, passes // 2
        found.append(batch)
    return found


def ladder(steps: list[int], attempt: Callable[[int], float | None]) -> list[Trial]:
    """Try sizes upward until one does not fit or is not faster.

    Args:
        steps: Rising.
        attempt: Images per second at a size; None: it does not fit.

    Returns:
        Those that fit and were each faster than the one before.
    """
    trials: list[Trial] = []
    for step in steps:
        speed = attempt(step)
        if speed is None or (trials and speed < _GAIN * trials[-1].images_per_s):
            break
        trials.append(Trial(step, speed))
    return trials


def _reason_against(loop: Loop) -> str | None:
    spec = loop.job.spec
    if loop.job.world.device.type != "cuda":
        return "auto_batch_size tries sizes on a GPU alone; nothing was tried"
    if spec.gradient_accumulation_steps % 2:
        passes = spec.gradient_accumulation_steps
        return f"gradient_accumulation_steps {passes} cannot be halved; nothing was tried"
    if spec.torch_compile:
        return "with torch_compile each size would be compiled first; nothing was tried"
    if loop.kit.dropout:
        return "with dropout another split would draw other numbers; nothing was tried"
    return None


def _together(loop: Loop, batch: int) -> float | None:
    """Return the mean speed of all ranks; None unless it fits on every one."""
    speed = attempt(loop, batch)
    told = torch.tensor([float(speed is not None), speed or 0.0], device=loop.job.world.device)
    fits, total = loop.job.world.sum_(told).tolist()
    return total / loop.job.world.size if fits == loop.job.world.size else None


def attempt(loop: Loop, batch: int) -> float | None:
    """Return the images per second of one rank's passes of ``batch``; None if they do not fit.

    The optimizer's state, which the first update makes, is stood in for by as much memory.
    """
    device, updater = loop.job.world.device, loop.kit.updater
    missing = 0 if updater.optimizer.state else state_bytes(updater.optimizer)
    try:
        reserve = torch.empty(missing, dtype=torch.uint8, device=device)
        spans = [_pass(loop, batch) for _ in range(_WARM + _TIMED)][_WARM:]
        del reserve
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    finally:
        updater.optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
    return batch / min(spans)


def _pass(loop: Loop, batch: int) -> float:
    """Run one forward and backward pass and return its seconds."""
    job, kit = loop.job, loop.kit
    start = kit.batches.chances.order.largest(loop.samples)
    samples = kit.batches.at(range(start, start + batch))
    wait_for(job.world.device)
    began = time.perf_counter()
    with torch.autocast(
        job.world.device.type, job.precision.dtype, enabled=job.precision.mode != "no"
    ):
        # Without the wrapper of several processes: one that does not fit would let the rest wait.
        loss = kit.objective(samples, predictor(kit.trainee.net)).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    wait_for(job.world.device)
    return time.perf_counter() - began
