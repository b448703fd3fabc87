"""A training as slow and as plain as it can be, to hold the fast one against.

It takes the random numbers of ``randomness`` and nothing else of ours: it encodes every image at
every step, writes every formula out, and uses diffusers' rates and average.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from sdcore.task.train_spec import TrainSpec
from sdcore.train.randomness import Order, Stream, integers, normal, uniform
from support import plain_optimizers

STEPS, PASSES, BATCH, SEED = 20, 2, 2, 1
SCALE, GROWTH = 65536.0, 6  # of the loss scaling: at first, and good windows until it doubles


class Plain:
    """The reference script's loop, as slow and as plain as it can be.

    Attributes:
        scale: Of the loss; None without loss scaling.
    """

    def __init__(self, model: Path, data: Path, spec: TrainSpec) -> None:
        self.spec, self.data = spec, data
        self.unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet").train()
        self.vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
        self.text = CLIPTextModel.from_pretrained(model, subfolder="text_encoder")
        self.tokenizer = CLIPTokenizer.from_pretrained(model, subfolder="tokenizer")
        lines = (data / "metadata.jsonl").read_text().splitlines()
        self.rows = [json.loads(line) for line in lines]
        self.order = Order(SEED, len(lines))
        self.alphas = self.schedule(model)
        self.ema = EMAModel(
            self.unet.parameters(), decay=spec.ema_decay, use_ema_warmup=spec.use_ema_warmup,
            update_after_step=spec.ema_update_after_step, inv_gamma=spec.ema_inv_gamma,
            power=spec.ema_power,
        )  # fmt: skip
        self.scale: float | None = None
        self.skipped = self.good = 0

    def schedule(self, model: Path) -> Tensor:
        """Return alpha-bar of each timestep; rescaled as Lin et al. 2023, algorithm 1."""
        alphas = DDPMScheduler.from_pretrained(model, subfolder="scheduler").alphas_cumprod
        if not self.spec.rescale_betas_zero_snr:
            return alphas  # type: ignore[no-any-return]
        roots = alphas.double().sqrt()
        rescaled = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
        return (rescaled**2).float()

    def pixels(self, row: dict[str, Any], position: int) -> Tensor:
        values = self.values(self.image(row))
        return values.flip(-1) if self.flips(position) else values

    def image(self, row: dict[str, Any]) -> Image.Image:
        return Image.open(self.data / row["file_name"]).convert("RGB")

    def values(self, image: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(image)).float().permute(2, 0, 1) / 127.5 - 1

    def caption(self, row: dict[str, Any], position: int) -> str:
        empty = uniform(SEED, Stream.EMPTY_CAPTION, position) < self.spec.proportion_empty_prompts
        return "" if empty else row["text"]

    def flips(self, position: int) -> bool:
        return self.spec.random_flip and uniform(SEED, Stream.FLIP, position) < 0.5

    @torch.no_grad()
    def encoded(self, positions: list[int]) -> Tensor:
        pairs = [(self.rows[self.order.row(p)], p) for p in positions]
        images = torch.stack([self.pixels(row, p) for row, p in pairs])
        posterior = self.vae.encode(images).latent_dist
        eps = normal(SEED, Stream.POSTERIOR, positions, tuple(posterior.mean.shape[1:]))
        return (posterior.mean + posterior.std * eps) * self.vae.config.scaling_factor  # type: ignore[no-any-return]

    def ids(self, tokenizer: Any, positions: list[int]) -> Tensor:
        captions = [self.caption(self.rows[self.order.row(p)], p) for p in positions]
        return tokenizer(  # type: ignore[no-any-return]
            captions, max_length=77, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids

    @torch.no_grad()
    def conditions(self, positions: list[int]) -> dict[str, Any]:
        """Return what the U-Net is given beside noisy latents and timestep."""
        ids = self.ids(self.tokenizer, positions)
        return {"encoder_hidden_states": self.text(ids, return_dict=False)[0]}

    def timestep(self, position: int) -> int:
        """As diffusers' SDXL script weighs them, drawn by walking along the weights."""
        spec, strategy = self.spec, self.spec.timestep_bias_strategy
        if strategy == "none":
            return integers(SEED, Stream.TIMESTEP, [position], 1000)[0]
        weights, biased = [1.0] * 1000, int(spec.timestep_bias_portion * 1000)
        places = {"later": range(1000 - biased, 1000), "earlier": range(biased),
                  "range": range(spec.timestep_bias_begin, spec.timestep_bias_end)}  # fmt: skip
        for place in places[strategy]:
            weights[place] = spec.timestep_bias_multiplier
        left = uniform(SEED, Stream.TIMESTEP, position) * math.fsum(weights)
        for t, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return t
        raise AssertionError("a number in [0, 1) ends before the weights do")

    def losses(self, positions: list[int]) -> Tensor:
        spec = self.spec
        latents, told = self.encoded(positions), self.conditions(positions)
        noise = normal(SEED, Stream.NOISE, positions, tuple(latents.shape[1:]))
        noise += spec.noise_offset * normal(SEED, Stream.OFFSET, positions, (4, 1, 1))
        extra = normal(SEED, Stream.PERTURBATION, positions, tuple(latents.shape[1:]))
        t = torch.tensor([self.timestep(p) for p in positions])
        alpha = self.alphas[t][:, None, None, None]
        signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
        noisy = signal * latents + spread * (noise + spec.input_perturbation * extra)
        velocity = spec.prediction_type == "v_prediction"
        target = signal * noise - spread * latents if velocity else noise
        if spec.dream_training:
            with torch.no_grad():
                guess = self.unet(noisy, t, **told, return_dict=False)[0]
            rest = spread**spec.dream_detail_preservation * (noise - guess)
            noisy, target = noisy + spread * rest, target + rest
        predicted = self.unet(noisy, t, **told, return_dict=False)[0]
        losses = F.mse_loss(predicted, target, reduction="none").mean(dim=(1, 2, 3))
        if spec.snr_gamma is None:
            return losses
        snr = (alpha / (1 - alpha)).flatten()
        return losses * torch.minimum(snr, torch.tensor(spec.snr_gamma)) / (snr + velocity)

    def window(self, number: int) -> float:
        """Fill the gradients of a window and return its loss."""
        total = 0.0
        for micro in range(PASSES):
            first = (number * PASSES + micro) * BATCH
            loss = self.losses(list(range(first, first + BATCH))).mean() / PASSES
            loss.backward()
            total += loss.item()
        return total

    def rescale(self, overflow: bool) -> None:
        """Halve at an overflow, double after ``GROWTH`` windows without one."""
        if self.scale is None:
            return
        self.good = 0 if overflow else self.good + 1
        self.skipped += overflow
        self.scale *= 0.5 if overflow else 1 + (self.good == GROWTH)
        self.good %= GROWTH

    def train(self, overflows: Sequence[int] = ()) -> list[dict[str, Any]]:
        """Train, leaving out the updates of the windows in ``overflows``."""
        optimizer = self.optimizer()
        schedule = get_scheduler(
            self.spec.lr_scheduler, optimizer, num_warmup_steps=self.spec.lr_warmup_steps,
            num_training_steps=STEPS,
        )  # fmt: skip
        told: list[dict[str, Any]] = []
        number = 0
        while len(told) < STEPS:
            loss = self.window(number)
            weights = list(self.unet.parameters())
            norm = math.sqrt(sum(float((w.grad.double() ** 2).sum()) for w in weights))  # type: ignore[union-attr]
            for weight in weights:
                weight.grad *= min(1.0, self.spec.max_grad_norm / (norm + 1e-6))  # type: ignore[misc]
            overflow = number in overflows
            self.rescale(overflow)
            if not overflow:
                rate, estimate = optimizer.param_groups[0]["lr"], getattr(optimizer, "d", None)
                optimizer.step()
                schedule.step()
                self.ema.step(self.unet.parameters())
                told.append({"loss": loss, "lr": rate, "grad_norm": norm, "loss_scale": self.scale,
                             "skipped": None if self.scale is None else self.skipped,
                             "d": estimate})  # fmt: skip
            optimizer.zero_grad()
            number += 1
        return told

    def optimizer(self) -> torch.optim.Optimizer:
        spec = self.spec
        if spec.optimizer == "adafactor":
            return plain_optimizers.Adafactor(
                self.unet.parameters(), spec.learning_rate, spec.adam_weight_decay
            )
        if spec.optimizer == "prodigy":
            return plain_optimizers.Prodigy(
                self.unet.parameters(), spec.learning_rate, spec.adam_weight_decay,
                spec.adam_epsilon,
            )  # fmt: skip
        return torch.optim.AdamW(
            self.unet.parameters(), lr=spec.learning_rate, weight_decay=1e-2,
            eps=spec.adam_epsilon, foreach=False,
        )  # fmt: skip
