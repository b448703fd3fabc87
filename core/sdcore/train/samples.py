"""Draws the prompts during training, to ``samples/step-N/``.

Each prompt has its own seed, made from the run's seed and its words: adding a prompt, or
changing the order, changes no other picture. Raw and averaged weights get the same noise.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from torch import Tensor

from sdcore.runs.files import write_json
from sdcore.task.train_spec import TrainSpec
from sdcore.train.encoder import run_finite
from sdcore.train.models import Models
from sdcore.train.precision import Precision

FORMAT = 1
View = AbstractContextManager[UNet2DConditionModel]  # a U-Net as it is for as long as it draws


@dataclass(frozen=True, slots=True)
class Sampler:
    """Draws with the models that are in memory; loads nothing.

    Attributes:
        models: VAE, text encoders, tokenizers and scheduler.
        spec: Prompts, size, guidance.
        seed: Of the run.
        device: Where to draw.
        precision: Of autocast.
        folder: Holds ``step-N/``.
    """

    models: Models
    spec: TrainSpec
    seed: int
    device: torch.device
    precision: Precision
    folder: Path

    def draw(self, step: int, unets: dict[str, View]) -> tuple[Path, int]:
        """Write one picture per prompt and U-Net, and ``samples.json``.

        Args:
            step: Names the folder.
            unets: By what they are: ``base``, ``raw``, ``ema``.

        Returns:
            The folder and the number of pictures in it.
        """
        aside = self.folder / f".step-{step}.partial"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        images: list[dict[str, Any]] = []
        for weights, view in unets.items():
            with view as unet, self._ready(unet) as pipeline:
                images += self._pictures(pipeline, weights, aside)
        record = {"format": FORMAT, "step": step, "images": images,
                  "guidance_scale": self.spec.validation_guidance_scale,
                  "inference_steps": self.spec.validation_inference_steps}  # fmt: skip
        write_json(aside / "samples.json", record)
        final = self.folder / f"step-{step}"
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        return final, len(images)

    def _pictures(self, pipeline: Any, weights: str, folder: Path) -> list[dict[str, Any]]:
        entries = []
        for i, prompt in enumerate(self.spec.validation_prompts or ()):
            seed = seed_of(self.seed, prompt)
            name = f"{weights}-{i:02d}.png"
            self._picture(pipeline, prompt, seed).save(folder / name)
            entries.append({"file": name, "prompt": prompt, "seed": seed, "weights": weights})
        return entries

    def _picture(self, pipeline: Any, prompt: str, seed: int) -> Image.Image:
        with torch.autocast(
            self.device.type, self.precision.dtype, enabled=self.precision.mode != "no"
        ):
            drawn = pipeline(
                prompt,
                height=self.spec.resolution,
                width=self.spec.resolution,
                num_inference_steps=self.spec.validation_inference_steps,
                guidance_scale=self.spec.validation_guidance_scale,
                # On the CPU: the same noise on every device.
                generator=torch.Generator().manual_seed(seed),
                output_type="latent",
            )
        return self._decoded(pipeline, drawn.images)

    def _decoded(self, pipeline: Any, latents_BCHW: Tensor) -> Image.Image:
        """Decode one picture; not under autocast, which would put an fp32 VAE back into fp16."""
        vae = self.models.vae
        scaled_BCHW = latents_BCHW / vae.config.scaling_factor
        pixels_BCHW = run_finite(
            vae,
            vae.dtype,
            lambda dtype: vae.decode(scaled_BCHW.to(dtype), return_dict=False)[0],
            "a sample",
        )
        image: Image.Image = pipeline.image_processor.postprocess(pixels_BCHW)[0]
        return image

    @contextmanager
    def _ready(self, unet: UNet2DConditionModel) -> Iterator[Any]:
        """Bring the models to the device and their evaluation mode, and all back."""
        parts = (self.models.vae, *self.models.text_encoders.values(), unet)
        homes = [next(part.parameters()).device for part in parts]
        trained = [part.training for part in parts]
        try:
            for part in parts:
                part.to(self.device).eval()
            pipeline = self.models.pipeline(unet, self.models.sampler)
            pipeline.set_progress_bar_config(disable=True)
            yield pipeline
        finally:
            for part, home, training in zip(parts, homes, trained, strict=True):
                part.to(home).train(training)


def seed_of(seed: int, prompt: str) -> int:
    """Return the seed of a prompt's picture, in [0, 2^63)."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
