"""Frozen encoders: what their output depends on, and running them without overflow.

B images, C latent channels, H and W latent rows and columns, P and Q rows and columns of pixels.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdcore.data.buckets import Size
from sdcore.errors import SdError

# Images of 512 px in one pass: the first layers of the SD VAE take about 0.6 GB each in fp32.
_BATCH_512_GPU, _BATCH_512_CPU, _MOST = 8, 2, 64


def module_hash(module: nn.Module, *, dtype: torch.dtype) -> str:
    """Hash the weights and configuration of an encoder and the precision it runs in.

    0.4 s for the 84 M parameters of the SD VAE. The configuration counts without the names that
    say where the module came from: a moved folder is the same encoder.
    """
    config = getattr(module, "config", {})
    plain = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    kept = {k: v for k, v in plain.items() if not k.startswith("_") and k not in _NO_MEANING}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode())
    digest.update(f"{type(module).__name__} {dtype}".encode())
    for name, tensor in sorted(module.state_dict().items()):
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(raw.numpy().data)
    return digest.hexdigest()


_NO_MEANING = {"torch_dtype", "dtype", "transformers_version", "architectures", "force_upcast"}


def freeze(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Put an encoder on ``device`` in ``dtype``, for use without gradients or dropout."""
    module.requires_grad_(False)
    module.eval()
    module.to(device=device)
    if any(weight.dtype != dtype for weight in module.parameters()):
        module.to(dtype=dtype)  # only then: diffusers warns at every call that names a dtype


def run_finite(
    module: nn.Module, dtype: torch.dtype, compute: Callable[[torch.dtype], Tensor], names: str
) -> Tensor:
    """Run a frozen encoder, in fp32 where fp16 overflows, and return its output in ``dtype``.

    The SD VAE has activations beyond 65,504 on some images. Only fp16 is looked at: the look
    waits for the device.

    Args:
        module: The encoder that ``compute`` runs; its precision is changed for the second try.
        dtype: The precision it is in.
        compute: Runs it on inputs of the given precision.
        names: What is being encoded, for the error.

    Raises:
        SdError: Not finite in fp32 either.
    """
    with torch.no_grad(), torch.autocast(_device(module).type, enabled=False):
        output = compute(dtype)
        if dtype != torch.float16 or _finite(output):
            return output
        module.to(dtype=torch.float32)
        try:
            output = compute(torch.float32).to(dtype)
        finally:
            module.to(dtype=dtype)
    if _finite(output):
        return output
    raise not_finite(type(module).__name__, names)


def not_finite(kind: str, names: str) -> SdError:
    """Build the error for an encoder whose output holds NaN or infinity."""
    return SdError(
        f"{kind} gives values that are not finite",
        cause=f"for {names}, even in fp32; its weights are probably damaged",
        remedy="copy the model again, or use another VAE",
    )


class MomentsEncoder:
    """The VAE's first half: pixels to the mean and log-variance of the latents.

    Args:
        vae: An ``AutoencoderKL``; moved to ``device`` and ``dtype`` and frozen.
        device: Where it computes.
        dtype: In what precision.
        resolution: Images have about as many pixels as a square of this side, in px.
    """

    def __init__(self, vae: Any, device: torch.device, dtype: torch.dtype, resolution: int) -> None:
        freeze(vae, device, dtype)
        self._vae, self.device, self.dtype = vae, device, dtype
        self._factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self._channels = 2 * int(vae.config.latent_channels)
        self.hash = module_hash(vae, dtype=dtype)
        whole = _BATCH_512_GPU if device.type == "cuda" else _BATCH_512_CPU
        self.batch = max(1, min(_MOST, whole * 512 * 512 // resolution**2))

    def shape(self, size: Size) -> tuple[int, int, int]:
        """Return the shape, (2C, H, W), of the moments of a picture of a width and height, px."""
        return self._channels, size[1] // self._factor, size[0] // self._factor

    def encode(self, pixels_B3PQ: Tensor, names: Sequence[str]) -> Tensor:
        """Return moments, (B, 2C, H, W), in the encoder's precision, on its device.

        Splits the batch where it does not fit on the GPU.

        Args:
            pixels_B3PQ: In [-1, 1], any device and precision.
            names: Of the images, for errors.

        Raises:
            SdError: Not finite even in fp32.
        """
        moments = self._try(pixels_B3PQ, names)
        if moments is None:
            torch.cuda.empty_cache()
            self.batch = max(1, len(names) // 2)
            moments = torch.cat(list(self._split(pixels_B3PQ, names)))
        high, wide = pixels_B3PQ.shape[2:]
        wanted = self.shape((wide, high))
        if moments.shape[1:] != wanted:
            raise ValueError(f"moments of shape {tuple(moments.shape[1:])}, not {wanted}")
        return moments

    def _split(self, pixels_B3PQ: Tensor, names: Sequence[str]) -> Iterator[Tensor]:
        at = 0
        while at < len(names):
            size = self.batch  # may shrink on the way
            yield self.encode(pixels_B3PQ[at : at + size], names[at : at + size])
            at += size

    def _try(self, pixels_B3PQ: Tensor, names: Sequence[str]) -> Tensor | None:
        """Encode in one pass; None when it does not fit, with nothing kept of the attempt."""
        try:
            return run_finite(
                self._vae, self.dtype, lambda dtype: self._run(pixels_B3PQ, dtype), _some(names)
            )
        except torch.OutOfMemoryError:
            if len(names) == 1:
                raise
            # Not tried again from here: the error's traceback still holds the activations.
            return None

    def _run(self, pixels_B3PQ: Tensor, dtype: torch.dtype) -> Tensor:
        pixels = pixels_B3PQ.to(device=self.device, dtype=dtype)
        parameters: Tensor = self._vae.encode(pixels).latent_dist.parameters
        return parameters


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
