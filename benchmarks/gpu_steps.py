"""One training step on one device, technique by technique; and the model of SD 1.x's sizes."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

TECHNIQUES = "a step, technique by technique"
_WARM = 5  # steps left out


@dataclass(frozen=True)
class Scale:
    """What is measured: the real thing, or the dry run."""

    resolution: int
    images: int
    steps: int
    precision: str
    device: str
    larger: tuple[int, ...]


REAL = Scale(512, 64, 60, "fp16", "cuda", (16, 32, 8))
DRY = Scale(64, 8, 8, "no", "cpu", (8,))


def make_sd1(folder: Path, **_: Any) -> Path:
    """Write a pipeline of SD 1.x's sizes with random weights; the tokenizer is the tiny one's."""
    import torch  # noqa: PLC0415 - seconds, and not for --list
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: PLC0415
    from transformers import CLIPTextConfig, CLIPTextModel  # noqa: PLC0415

    from support.tiny_model import make_pipeline  # noqa: PLC0415

    make_pipeline(folder)
    torch.manual_seed(0)
    sides = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    UNet2DConditionModel(sample_size=64, cross_attention_dim=768).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
        down_block_types=sides[0], up_block_types=sides[1],
    ).save_pretrained(folder / "vae")  # fmt: skip
    CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            vocab_size=514, bos_token_id=512, eos_token_id=513, pad_token_id=513,
        )
    ).save_pretrained(folder / "text_encoder")  # fmt: skip
    return folder


@dataclass(frozen=True)
class Recipe:
    """How one step is made. Each technique changes one field."""

    checkpointing: bool = True
    autocast: bool = False
    channels_last: bool = False
    fused: bool = False
    averaging: str = "loop"
    compiled: bool = False


def time_steps(model: Path, scale: Scale) -> int:
    """Time a step, adding one technique after another; print a JSON line for each."""
    recipe = Recipe()
    rows: list[tuple[str, Recipe]] = [("fp32, checkpointing, EMA tensor by tensor", recipe)]
    for name, change in (
        ("autocast", {"autocast": scale.precision != "no"}),
        ("no gradient checkpointing", {"checkpointing": False}),
        ("channels_last", {"channels_last": True}),
        ("fused AdamW", {"fused": True}),
        ("diffusers' foreach EMA", {"averaging": "foreach"}),
        ("one fused lerp for the EMA", {"averaging": "lerp"}),
        ("torch.compile", {"compiled": True}),
    ):
        recipe = replace(recipe, **change)  # type: ignore[arg-type]
        rows.append((name, recipe))
    for name, made_so in rows:
        seconds, peak = _timed(model, scale, made_so)
        sys.stdout.write(json.dumps({"name": name, "seconds": seconds, "peak": peak}) + "\n")
        sys.stdout.flush()
    return 0


def _timed(model: Path, scale: Scale, recipe: Recipe) -> tuple[float, int | None]:
    """Return the median seconds of a step and the peak of memory, of a fresh network."""
    import torch  # noqa: PLC0415

    device, on_gpu = torch.device(scale.device), scale.device == "cuda"
    if on_gpu:
        torch.backends.cudnn.benchmark = True
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step = _step(model, scale, recipe, device)
    spans = []
    warm = min(_WARM, scale.steps // 2)
    for _ in range(warm + scale.steps // 2):
        began = time.perf_counter()
        step()
        if on_gpu:
            torch.cuda.synchronize()
        spans.append(time.perf_counter() - began)
    return statistics.median(spans[warm:]), torch.cuda.max_memory_allocated() if on_gpu else None


def _step(model: Path, scale: Scale, recipe: Recipe, device: Any) -> Callable[[], None]:
    """Return a function that makes one step of 4 images over tensors in memory."""
    import torch  # noqa: PLC0415
    from diffusers import UNet2DConditionModel  # noqa: PLC0415

    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet").train().to(device)
    if recipe.checkpointing:
        unet.enable_gradient_checkpointing()
    if recipe.channels_last:
        unet.to(memory_format=torch.channels_last)
    weights = list(unet.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-5, fused=recipe.fused)
    average = _average(weights, recipe.averaging)
    net = torch.compile(unet) if recipe.compiled else unet
    scaler = torch.amp.GradScaler(device.type, enabled=scale.precision == "fp16")
    side = unet.config.sample_size if device.type == "cuda" else scale.resolution // 2
    noisy_BCHW, noise_BCHW = torch.randn(2, 4, 4, side, side, device=device)
    text_BLD = torch.randn(4, 77, unet.config.cross_attention_dim, device=device)
    timesteps_B = torch.randint(1000, (4,), device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.float16, enabled=recipe.autocast):
            predicted_BCHW = net(noisy_BCHW, timesteps_B, text_BLD, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(predicted_BCHW.float(), noise_BCHW)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        average()

    return step


def _average(weights: Sequence[Any], kind: str) -> Callable[[], None]:
    import torch  # noqa: PLC0415
    from diffusers.training_utils import EMAModel  # noqa: PLC0415

    if kind == "lerp":
        shadow = [weight.detach().clone() for weight in weights]

        @torch.no_grad()
        def lerp() -> None:
            torch._foreach_lerp_(shadow, list(weights), 1e-4)

        return lerp
    ema = EMAModel(weights, foreach=kind == "foreach")
    return lambda: ema.step(weights)
