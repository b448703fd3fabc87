"""Shipped presets for GPUs, from the preset to a result that diffusers loads and draws with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from sdcore.task.shipped import shipped_folder
from support.commands import Console
from support.tiny_model import make_pipeline, make_sdxl

# What a test cannot wait for; all else is as it is shipped.
SMALL = {"gpu.count": 0, "train.resolution": 32, "train.max_train_steps": 3, "train.seed": 1,
         "train.train_batch_size": 2, "train.learning_rate": 0.03, "train.lr_warmup_steps": 0,
         "train.report_to": "none", "train.lr_scheduler": "constant"}  # fmt: skip


def drawn(pipeline: Any) -> Any:
    """A small picture of a fixed prompt, (32, 32, 3)."""
    pipeline.set_progress_bar_config(disable=True)
    source = torch.Generator().manual_seed(1)
    shown = pipeline("a red square", height=32, width=32, num_inference_steps=2, generator=source)
    return np.asarray(shown.images[0]).astype(int)


@pytest.mark.parametrize(
    ("name", "source", "make", "kind"),
    [
        ("sd15-lora-12gb", "stable-diffusion-v1-5", make_pipeline, StableDiffusionPipeline),
        ("sdxl-lora-24gb", "stable-diffusion-xl-base-1.0", make_sdxl, StableDiffusionXLPipeline),
        ("sdxl-full-80gb", "stable-diffusion-xl-base-1.0", make_sdxl, StableDiffusionXLPipeline),
    ],
)
def test_a_preset_trains_what_diffusers_loads(
    sdtui: Console, tmp_path: Path, data: Path, name: str, source: str,
    make: Callable[[Path], Path], kind: Any,
) -> None:  # fmt: skip
    """A preset is what a newcomer runs first, with a model of gigabytes and a GPU by the hour."""
    model = make(tmp_path / "model")
    text = (shipped_folder() / f"{name}.toml").read_text("utf-8")
    preset = tmp_path / f"{name}.toml"
    preset.write_text(
        text.replace("~/data/my-images", str(data)).replace(f"~/models/{source}", str(model))
    )
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    answer = sdtui("--run", str(preset), *settings)
    assert answer.code == 0, answer.err
    lora = "lora" in name
    answer.says("done after", "load_lora_weights" if lora else f"= {kind.__name__}"[:22])
    answer.says("gradient_checkpointing: off, because")

    (run,) = sdtui.runs()
    base = drawn(kind.from_pretrained(model))
    folders = [run.pipeline, run.checkpoints / "step-3" / "lora"] if lora else [run.pipeline]
    for folder in folders:
        trained = kind.from_pretrained(model if lora else folder)
        if lora:
            trained.load_lora_weights(folder)
        assert np.abs(drawn(trained) - base).max() > 3, folder
