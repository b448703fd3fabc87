"""Training an SD 1.x-sized U-Net on one GPU: the reference, ours, and technique by technique.

    python benchmarks/gpu.py [--reference PATH/train_text_to_image.py] [--packages DIR]
    python benchmarks/gpu.py --dry-run     # a tiny model on the CPU: only that the script works

859.5 M weights (random), 512 px, fp16, EMA. First whole trainers as processes, one after another:
the reference with the flags of the platform's page (batch 1, 4 passes, gradient checkpointing),
ours with the same, and ours with one thing changed after another at the same effective batch, then
with larger batches. Then one step in this process, technique by technique. Model-FLOPs utilisation
counts 2.407 TFLOP per image of 512 px (forward and backward of the U-Net; nothing for recomputing).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

import torch  # noqa: E402
from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: E402
from diffusers.training_utils import EMAModel  # noqa: E402
from trainers import Trainer, environment, ours, reference  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

from support.tiny_model import PLATFORM, make_dataset, make_pipeline  # noqa: E402

TFLOP_512 = 2.407  # of one image of 512 px, forward and backward; attention products counted
_WARM = 5  # steps left out
_SHARED = ["--use_ema", "--center_crop", "--random_flip", "--learning_rate=1e-05",
           "--lr_scheduler=constant", "--lr_warmup_steps=0", "--max_grad_norm=1",
           "--seed=1"]  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """What is measured: the real thing, or the dry run."""

    resolution: int
    images: int
    steps: int
    precision: str
    device: str
    larger: tuple[int, ...]


REAL = Scale(512, 64, 60, "fp16", "cuda", (8, 16, 32))
DRY = Scale(64, 8, 8, "no", "cpu", (8,))


def main() -> int:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, metavar="PATH", help="diffusers' script")
    parser.add_argument(
        "--packages", type=Path, metavar="DIR", help="the reference alone sees them"
    )
    parser.add_argument("--peak-tflops", type=float, default=989.0,
                        help="dense half precision of the GPU; H100 SXM and H200: 989")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="a tiny model on the CPU")
    args = parser.parse_args()
    if not args.dry_run and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; --dry-run tries the script itself on the CPU")
    scale = DRY if args.dry_run else REAL
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (make_pipeline if args.dry_run else make_sd1)(folder / "model", sizes=PLATFORM)
        make_dataset(folder / "data", scale.images, scale.resolution)
        device = "cpu" if args.dry_run else torch.cuda.get_device_name()
        print(f"{device}, torch {torch.__version__}, {scale.resolution} px, {scale.precision}\n")
        whole(folder, scale, args.reference, args.packages, args.peak_tflops)
        techniques(folder / "model", scale)
    return 0


def make_sd1(folder: Path, **_: Any) -> Path:
    """Write a pipeline of SD 1.x's sizes with random weights; the tokenizer is the tiny one's."""
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


def whole(
    folder: Path, scale: Scale, script: Path | None, packages: Path | None, peak_tflops: float
) -> None:
    """Run whole trainers one after another, each with an empty GPU."""
    print("| trainer | images/s | of the reference | MFU | peak memory | checkpoint stall |")
    print("|---|---|---|---|---|---|")
    first: float | None = None
    for trainer, batch in _trainers(folder, scale, script, packages):
        trainer.start(environment(folder))
        trainer.check()
        # Not the last line, nor steps by themselves: around a save lines come two at a time.
        times = [step.at for step in trainer.steps()][min(_WARM, scale.steps // 2) : -1]
        speed = batch * (len(times) - 1) / (times[-1] - times[0])
        first = first or speed
        work = TFLOP_512 * (scale.resolution / 512) ** 2 * speed
        memory, stall = trainer.peak_memory(), _stall(trainer)
        cells = [
            trainer.name, f"{speed:.1f}", f"{speed / first:.2f}" if script else "–",
            "–" if scale.device == "cpu" else f"{work / peak_tflops:.1%}",
            f"{memory / 2**30:.1f} GiB" if memory else "–",
            f"{1000 * stall:.0f} ms ({stall * speed / batch:.1f} steps)" if stall else "–",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


def _trainers(
    folder: Path, scale: Scale, script: Path | None, packages: Path | None
) -> Iterator[tuple[Trainer, int]]:
    """Yield each trainer with the images of its step."""
    flags = [f"--pretrained_model_name_or_path={folder / 'model'}",
             f"--train_data_dir={folder / 'data'}", f"--resolution={scale.resolution}",
             f"--mixed_precision={scale.precision}", f"--max_train_steps={scale.steps}",
             *_SHARED]  # fmt: skip
    split = ["--train_batch_size=1", "--gradient_accumulation_steps=4"]
    same = [*flags, *split, "--gradient_checkpointing"]
    if script is not None:
        yield reference(script.absolute(), same, folder / "reference", packages), 4
    bf16 = [f for f in flags if not f.startswith("--mixed_precision")] + ["--mixed_precision=bf16"]
    one = [*flags, "--train_batch_size=4"]
    saving = f"--checkpointing_steps={scale.steps // 2}"
    cases: list[tuple[str, list[str], int]] = [
        ("ours, the same flags", same, 4),
        ("the same, latents not cached", [*same, "--no-cache_latents"], 4),
        ("no gradient checkpointing", [*flags, *split], 4),
        ("and 4 images in one pass", one, 4),
        ("as it chooses",
         [*flags, *split, "--gradient_checkpointing=auto", "--auto_batch_size"], 4),
        ("4 in one pass, bf16", [*bf16, "--train_batch_size=4"], 4),
        ("4 in one pass, torch_compile", [*one, "--torch_compile"], 4),
        ("4 in one pass, a checkpoint half-way", [*one, saving], 4),
        *((f"{n} in one pass", [*flags, f"--train_batch_size={n}"], n) for n in scale.larger),
        (f"{scale.larger[-1]} in one pass, torch_compile",
         [*flags, f"--train_batch_size={scale.larger[-1]}", "--torch_compile"], scale.larger[-1]),
    ]  # fmt: skip
    for number, (name, words, batch) in enumerate(cases):
        yield ours(name, words, folder / f"ours-{number}"), batch


def _stall(trainer: Trainer) -> float | None:
    """Return the seconds that training stood still for a save in its middle, if it had one."""
    import json  # noqa: PLC0415

    path = trainer.out / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    saves = [e for e in lines if e["kind"] == "checkpoint"]
    return saves[0].get("stall") if len(saves) > 1 else None  # the last one is waited for


@dataclass(frozen=True)
class Recipe:
    """How one step is made. Each technique changes one field."""

    checkpointing: bool = True
    autocast: bool = False
    channels_last: bool = False
    fused: bool = False
    averaging: str = "loop"
    compiled: bool = False


def techniques(model: Path, scale: Scale) -> None:
    """Time a step in this process, adding one technique after another."""
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
    print("\n| one step of 4 images, each row adds | ms | of the row above | peak memory |")
    print("|---|---|---|---|")
    before: float | None = None
    for name, recipe in rows:
        seconds, peak = _timed(model, scale, recipe)
        gain = f"{before / seconds:.2f}" if before else ""
        memory = f"{peak / 2**30:.1f} GiB" if peak else "–"
        print(f"| {name} | {1000 * seconds:.1f} | {gain} | {memory} |", flush=True)
        before = seconds


def _timed(model: Path, scale: Scale, recipe: Recipe) -> tuple[float, int | None]:
    """Return the median seconds of a step and the peak of memory, of a fresh network."""
    device, on_gpu = torch.device(scale.device), scale.device == "cuda"
    if on_gpu:
        torch.backends.cudnn.benchmark = True
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step = _step(model, scale, recipe, device)
    spans = []
    for _ in range(min(_WARM, scale.steps // 2) + scale.steps // 2):
        began = time.perf_counter()
        step()
        if on_gpu:
            torch.cuda.synchronize()
        spans.append(time.perf_counter() - began)
    middle = statistics.median(spans[min(_WARM, scale.steps // 2) :])
    return middle, torch.cuda.max_memory_allocated() if on_gpu else None


def _step(model: Path, scale: Scale, recipe: Recipe, device: torch.device) -> Callable[[], None]:
    """Return a function that makes one step of 4 images over tensors in memory."""
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


def _average(weights: Sequence[torch.Tensor], kind: str) -> Callable[[], None]:
    if kind == "lerp":
        shadow = [weight.detach().clone() for weight in weights]

        @torch.no_grad()
        def lerp() -> None:
            torch._foreach_lerp_(shadow, list(weights), 1e-4)

        return lerp
    ema = EMAModel(weights, foreach=kind == "foreach")
    return lambda: ema.step(weights)


if __name__ == "__main__":
    sys.exit(main())
