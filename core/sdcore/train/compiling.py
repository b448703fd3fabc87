"""``torch.compile`` of the training pass: looked at before the start, warmed up as a phase.

Only the call of the training loop is compiled. Samples, validation and checkpoints use the
network itself, so that no other shape compiles anew and the names of the weights stay.
"""

import importlib.util
import time
from typing import cast

import torch
from torch import nn

from sdcore.errors import NotReadyError
from sdcore.text import clean_line
from sdcore.train.loop import Loop
from sdcore.train.outcome import is_out_of_memory
from sdcore.train.step import predictor
from sdcore.units import duration


def check(device: torch.device) -> None:
    """See that something can compile, before weights are loaded.

    Raises:
        NotReadyError: No compiler for the device.
    """
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise _refusal("the package triton is not installed", "pip install triton")
        return
    from torch._inductor import cpp_builder, exc  # noqa: PLC0415 - seconds, and for this alone

    try:
        cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, OSError) as error:
        cause = clean_line(str(error), 200) or "there is no C++ compiler on PATH"
        raise _refusal(cause, "install g++") from error


def _refusal(cause: str, remedy: str) -> NotReadyError:
    return NotReadyError("torch_compile", cause=cause, remedy=f"{remedy}, or leave the flag out")


def compiled(net: nn.Module) -> nn.Module:
    """Return ``net`` as it is compiled at its first call; it has the same parameters."""
    return cast("nn.Module", torch.compile(net))


def warm_up(loop: Loop) -> None:
    """Compile now, forward and backward, so that no step is mistaken for a slow one.

    The pass changes nothing: its gradients are dropped, and random numbers have no state.

    Raises:
        NotReadyError: The compiler failed.
    """
    job, kit = loop.job, loop.kit
    if not job.spec.torch_compile:
        return
    from torch._dynamo.exc import BackendCompilerFailed  # noqa: PLC0415 - 1 s, for this alone

    job.report.phase("compiling")
    began = time.monotonic()
    samples = kit.batches.at(range(loop.samples, loop.samples + job.spec.train_batch_size))
    device, precision = job.world.device, job.precision
    try:
        with torch.autocast(device.type, precision.dtype, enabled=precision.mode != "no"):
            loss = kit.objective(samples, predictor(kit.net)).mean()
        loss.backward()  # type: ignore[no-untyped-call]
    except BackendCompilerFailed as error:
        if is_out_of_memory(error):
            raise
        raise _refusal(clean_line(str(error).split("\n")[0], 300), "see train.log") from error
    kit.updater.optimizer.zero_grad(set_to_none=True)
    job.report.say(f"compiled in {duration(time.monotonic() - began)}")
