"""Images of noise, a VAE of a few hundred weights, and the moments of the one by the other."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from sdcore.data import DataIndex
from sdcore.task.train_spec import TrainSpec
from sdcore.train.latents import Draw, LatentSource, build_latents

SIDE = 16
CPU = torch.device("cpu")


def tiny_vae(seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoencoderKL(
            block_out_channels=(4, 8), latent_channels=4, norm_num_groups=2,
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip


def write_images(root: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """Write one image of noise for each size, ``0.png`` on, with captions."""
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": f"image {i}"}) + "\n")
    (root / "metadata.jsonl").write_text("".join(lines))
    return root


class Counted:
    """A VAE that counts the images it encodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, vae: Any) -> None:
        self.images = 0
        encode = vae.encode

        def counting(pixels: Tensor, *args: Any, **kwargs: Any) -> Any:
            self.images += len(pixels)
            return encode(pixels, *args, **kwargs)

        monkeypatch.setattr(vae, "encode", counting)


def build(
    index: DataIndex,
    root: Path,
    vae: Any | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    skipped: list[str] | None = None,
    rank: int = 0,
    world_size: int = 1,
    barrier: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> LatentSource:
    spec = TrainSpec(**({"resolution": SIDE, "center_crop": True} | settings))
    return build_latents(
        index, spec, vae if vae is not None else tiny_vae(), CPU, dtype,
        cache_root=root, rank=rank, world_size=world_size, barrier=barrier,
        progress=progress,
        on_skip=(skipped if skipped is not None else []).append,
    )  # fmt: skip


def draw(row: int, *, flip: bool = False, crop: tuple[float, float] = (0.5, 0.5)) -> Draw:
    return Draw(position=0, row=row, caption=0, flip=flip, crop=crop)
