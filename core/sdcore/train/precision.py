"""Which numbers the forward pass uses. The trained weights are fp32 in every case."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import torch

from sdcore.errors import NotReadyError, UsageError
from sdcore.task.train_spec import TrainSpec

Mode = Literal["no", "fp16", "bf16"]


@dataclass(frozen=True, slots=True)
class Precision:
    """A decision, and its reason where we made it."""

    mode: Mode
    because: str | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of autocast."""
        return {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[self.mode]

    def frozen_dtype(self, device: torch.device) -> torch.dtype:
        """Of the VAE and the text encoder, which are not trained.

        A CPU computes them in fp32: once, for the cache, and half precision saves nothing there.
        """
        return self.dtype if device.type == "cuda" else torch.float32


def choose(spec: TrainSpec, environ: Mapping[str, str], device: torch.device) -> Precision:
    """Decide by the flag, else by ``accelerate launch --mixed_precision``, else fp32.

    Raises:
        UsageError: The launcher asks for a precision the trainer does not have.
        NotReadyError: The device cannot do it.
    """
    wish = spec.mixed_precision or environ.get("ACCELERATE_MIXED_PRECISION") or "no"
    if wish not in {"auto", "no", "fp16", "bf16"}:
        raise UsageError(
            f"the launcher's mixed precision {wish}",
            cause="the trainer computes in fp16, bf16 or fp32",
            remedy="pass --mixed_precision fp16, bf16 or no",
        )
    if wish == "auto":
        return _automatic(device)
    if wish == "fp16" and device.type == "cpu":
        raise NotReadyError(
            "mixed_precision fp16",
            cause="no GPU is used, and a CPU cannot train in fp16",
            remedy="use mixed_precision no or auto, or give the run a GPU",
        )
    if wish == "bf16" and device.type == "cuda" and not _native_bf16():
        raise NotReadyError(
            "mixed_precision bf16",
            cause="this GPU has no bf16 units",
            remedy="use mixed_precision fp16 or auto",
        )
    return Precision(cast("Mode", wish))


def _automatic(device: torch.device) -> Precision:
    if device.type == "cpu":
        return Precision("no", "no GPU is used")
    if _native_bf16():
        return Precision("bf16", "the GPU has bf16, which needs no loss scaling")
    return Precision("fp16", "the GPU has no bf16")


def _native_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
