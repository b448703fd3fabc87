"""The training against a plain one: fp32, nothing cached, in the order of the reference script.

The plain one takes the random numbers of ``randomness`` and nothing else of ours: it encodes
every image at every step, uses diffusers' schedules and average and torch's unfused AdamW.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel, compute_dream_and_update_latents, compute_snr
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from sdcore.task.train_spec import TrainSpec
from sdcore.train.ema import Ema
from sdcore.train.optimizing import learning_rates
from sdcore.train.randomness import Order, Stream, integers, normal, uniform
from support.tiny_model import make_pipeline

STEPS, PASSES, BATCH, SEED = 3, 2, 2, 1


class Plain:
    """The reference script's loop, as slow and as plain as it can be."""

    def __init__(self, model: Path, data: Path, spec: TrainSpec) -> None:
        self.spec = spec
        self.unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet").train()
        self.vae = AutoencoderKL.from_pretrained(model, subfolder="vae")
        self.text = CLIPTextModel.from_pretrained(model, subfolder="text_encoder")
        self.tokenizer = CLIPTokenizer.from_pretrained(model, subfolder="tokenizer")
        self.noise = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
        lines = (data / "metadata.jsonl").read_text().splitlines()
        self.rows = [json.loads(line) for line in lines]
        self.data, self.order = data, Order(SEED, len(lines))
        self.ema = EMAModel(self.unet.parameters(), decay=0.9999)

    def pixels(self, row: dict[str, Any], flip: bool) -> Tensor:
        image = Image.open(self.data / row["file_name"]).convert("RGB")
        values = torch.from_numpy(np.array(image)).float().permute(2, 0, 1) / 127.5 - 1
        return values.flip(-1) if flip else values

    def loss(self, positions: list[int]) -> Tensor:
        spec = self.spec
        rows = [self.rows[self.order.row(p)] for p in positions]
        flips = [spec.random_flip and uniform(SEED, Stream.FLIP, p) < 0.5 for p in positions]
        with torch.no_grad():
            images = torch.stack([self.pixels(r, f) for r, f in zip(rows, flips, strict=True)])
            posterior = self.vae.encode(images).latent_dist
            eps = normal(SEED, Stream.POSTERIOR, positions, tuple(posterior.mean.shape[1:]))
            latents = (posterior.mean + posterior.std * eps) * self.vae.config.scaling_factor
            ids = self.tokenizer(
                [r["text"] for r in rows], max_length=77, padding="max_length", truncation=True,
                return_tensors="pt",
            ).input_ids  # fmt: skip
            text = self.text(ids, return_dict=False)[0]
        noise = normal(SEED, Stream.NOISE, positions, tuple(latents.shape[1:]))
        if spec.noise_offset:
            noise += spec.noise_offset * normal(SEED, Stream.OFFSET, positions, (4, 1, 1))
        added = noise
        if spec.input_perturbation:
            extra = normal(SEED, Stream.PERTURBATION, positions, tuple(latents.shape[1:]))
            added = noise + spec.input_perturbation * extra
        t = torch.tensor(integers(SEED, Stream.TIMESTEP, positions, 1000))
        noisy = self.noise.add_noise(latents, added, t)
        target = noise
        if self.noise.config.prediction_type == "v_prediction":
            target = self.noise.get_velocity(latents, noise, t)
        if spec.dream_training:
            noisy, target = compute_dream_and_update_latents(
                self.unet, self.noise, t, noise, noisy, target, text, 1.0
            )
        predicted = self.unet(noisy, t, text, return_dict=False)[0]
        if spec.snr_gamma is None:
            return F.mse_loss(predicted, target)
        snr = compute_snr(self.noise, t)
        weights = torch.stack([snr, spec.snr_gamma * torch.ones_like(snr)], dim=1).min(dim=1)[0]
        shift = 0 if self.noise.config.prediction_type == "epsilon" else 1
        losses = F.mse_loss(predicted, target, reduction="none").mean(dim=(1, 2, 3))
        return (losses * weights / (snr + shift)).mean()

    def train(self) -> tuple[list[float], list[float]]:
        spec = self.spec
        optimizer = torch.optim.AdamW(
            self.unet.parameters(),
            lr=spec.learning_rate,
            weight_decay=1e-2,
            eps=spec.adam_epsilon,
            foreach=False,
        )
        schedule = get_scheduler(
            spec.lr_scheduler, optimizer, num_warmup_steps=spec.lr_warmup_steps,
            num_training_steps=STEPS,
        )  # fmt: skip
        losses, rates = [], []
        for step in range(STEPS):
            total = 0.0
            for micro in range(PASSES):
                first = (step * PASSES + micro) * BATCH
                loss = self.loss(list(range(first, first + BATCH))) / PASSES
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(self.unet.parameters(), spec.max_grad_norm)
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            self.ema.step(self.unet.parameters())
            losses.append(total)
        return losses, rates


CASES: dict[str, list[str]] = {
    "epsilon": ["--random_flip", "--use_ema", "--lr_scheduler", "cosine", "--max_grad_norm", "0.3"],
    "snr": ["--snr_gamma", "5"],
    "offset": ["--noise_offset", "0.1", "--input_perturbation", "0.1"],
    "v": ["--prediction_type", "v_prediction"],
    "v snr": ["--prediction_type", "v_prediction", "--snr_gamma", "5"],
    "dream": ["--dream_training"],
}


@pytest.mark.parametrize("case", CASES)
def test_losses_and_weights_are_those_of_a_plain_training(
    case: str, train: Any, model: Path, data: Path, tmp_path: Path
) -> None:
    """A cache, a fused update or a late reading that changes the numbers is a wrong training."""
    common = ["--gradient_accumulation_steps", str(PASSES), "--max_train_steps", str(STEPS),
              "--learning_rate", "0.01", "--lr_warmup_steps", "1",
              # Adam divides by the gradient's own size: at 1e-8 it makes 1 % of rounding noise.
              "--adam_epsilon", "1e-4"]  # fmt: skip
    ours = train(*common, *CASES[case])
    assert ours.code == 0, ours.err
    saved = json.loads((ours.out / "checkpoints/step-3/trainer.json").read_text())["spec"]
    spec = TrainSpec.model_validate(saved, strict=False)
    source = model
    if spec.prediction_type:
        source = make_pipeline(tmp_path / "v", prediction_type=spec.prediction_type)
    plain = Plain(source, data, spec)
    losses, rates = plain.train()
    metrics = ours.metrics()
    assert [metrics[s]["loss"] for s in (1, 2, 3)] == pytest.approx(losses, abs=1e-5)
    assert [metrics[s]["lr"] for s in (1, 2, 3)] == pytest.approx(rates, rel=1e-12)
    weights = plain.ema.shadow_params if spec.use_ema else list(plain.unet.parameters())
    trained = UNet2DConditionModel.from_pretrained(ours.out, subfolder="unet").parameters()
    worst = max(float((a - b).detach().abs().max()) for a, b in zip(trained, weights, strict=True))
    assert worst < 1e-5


@pytest.mark.parametrize(
    "name",
    ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"],
)
def test_each_schedule_gives_the_rates_of_diffusers_stepped_once_per_update(name: str) -> None:
    """Ours is a function of the step, so that a resume restores nothing."""
    spec = TrainSpec.model_validate({"lr_scheduler": name, "lr_warmup_steps": 3})
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
    schedule = get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=12)
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    rate = learning_rates(spec, 1e-4, 12)
    assert [rate(step) for step in range(12)] == pytest.approx(rates, rel=1e-12)


def test_the_average_is_that_of_diffusers(model: Path) -> None:
    """2 updates copy and start, 60 show the warm-up of the decay, and a limit is a limit."""
    for limit in (0.9999, 0.5):
        unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
        parameters = list(unet.parameters())
        ours, theirs = Ema(unet, limit, offload=False), EMAModel(parameters, decay=limit)
        for _ in range(60):
            with torch.no_grad():
                for parameter in parameters:
                    parameter.mul_(0.98)
            ours.step(parameters)
            theirs.step(parameters)
        for a, b in zip(ours.model.parameters(), theirs.shadow_params, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
        assert ours.decay_at(60) == theirs.cur_decay_value
