"""The shipped presets for SDXL, from the preset to a result that diffusers loads and draws with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from sdcore.task.presets import shipped_folder
from support.commands import Console
from support.tiny_model import make_sdxl

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


@pytest.mark.parametrize("name", ["sdxl-lora-24gb", "sdxl-full-80gb"])
def test_a_preset_for_sdxl_trains_what_diffusers_loads(
    sdtui: Console, tmp_path: Path, data: Path, name: str
) -> None:
    """A preset is what a newcomer runs first, with a model of 7 GB and a GPU by the hour."""
    model = make_sdxl(tmp_path / "sdxl")
    text = (shipped_folder() / f"{name}.toml").read_text("utf-8")
    preset = tmp_path / f"{name}.toml"
    preset.write_text(
        text.replace("~/data/my-images", str(data)).replace(
            "~/models/stable-diffusion-xl-base-1.0", str(model)
        )
    )
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    answer = sdtui("--run", str(preset), *settings)
    assert answer.code == 0, answer.err
    answer.says("done after", "load_lora_weights" if "lora" in name else "= StableDiffusionXLPip")

    (run,) = sdtui.runs()
    base = StableDiffusionXLPipeline.from_pretrained(model)
    if name == "sdxl-lora-24gb":
        trained = StableDiffusionXLPipeline.from_pretrained(model)
        trained.load_lora_weights(run.pipeline)
    else:
        trained = StableDiffusionXLPipeline.from_pretrained(run.pipeline)
    assert np.abs(drawn(trained) - drawn(base)).max() > 3
