"""The loss of one forward pass, from latents and text to one number per image.

Shapes: B images, C latent channels (4), H and W latent rows and columns (pixels / 8),
E text encoders, L tokens (77), D text width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_dream_and_update_latents, compute_snr
from torch import Tensor, nn

from sdcore.task.train_spec import TrainSpec
from sdcore.train.families import Added

# (noisy_BCHW, timesteps_B, text_BLD, added) -> predicted_BCHW
Predict = Callable[[Tensor, Tensor, Tensor, Added | None], Tensor]


def predictor(net: nn.Module) -> Predict:
    """Return how a U-Net, or a module that is called like one, predicts."""

    def predict(
        noisy_BCHW: Tensor, timesteps_B: Tensor, text_BLD: Tensor, added: Added | None
    ) -> Tensor:
        answer: Tensor = net(
            noisy_BCHW, timesteps_B, text_BLD, added_cond_kwargs=added, return_dict=False
        )[0]
        return answer

    return predict


@dataclass(frozen=True, slots=True)
class Batch:
    """What one forward pass sees; everything is on the device, random numbers included.

    Attributes:
        moments: Mean and log variance of the VAE's posterior, (B, 2C, H, W), float32.
        posterior: Standard normal, (B, C, H, W).
        noise: Standard normal, (B, C, H, W).
        offset: Standard normal, (B, C, 1, 1), for ``noise_offset``; None without it.
        perturbation: Standard normal, (B, C, H, W), for ``input_perturbation``; None without it.
        timesteps: Integers in [0, T), (B,).
        text: States of the text encoders, (B, L, D); token ids, (B, E, L), where they train, too.
        added: What the U-Net is told beside them: sizes and pooled text of SDXL; else None.
    """

    moments: Tensor
    posterior: Tensor
    noise: Tensor
    offset: Tensor | None
    perturbation: Tensor | None
    timesteps: Tensor
    text: Tensor
    added: Added | None = None


def latents_of(batch: Batch, scaling_factor: float) -> Tensor:
    """Draw latents from the posterior, (B, C, H, W), scaled to about unit variance."""
    mean_BCHW, logvar_BCHW = batch.moments.chunk(2, dim=1)
    # The limits are diffusers' own (DiagonalGaussianDistribution); SD's VAE has no shift factor.
    spread_BCHW = torch.exp(0.5 * logvar_BCHW.clamp(-30.0, 20.0))
    return (mean_BCHW + spread_BCHW * batch.posterior) * scaling_factor


def min_snr_weights(snr_B: Tensor, gamma: float, prediction: str) -> Tensor:
    """Weigh each image's loss so that low-noise timesteps do not drown the others.

    Min-SNR-gamma, Hang et al. 2023, arXiv:2303.09556, section 3.4. The paper weighs an x0 loss;
    dividing by snr (epsilon) or snr + 1 (v) restates it for our target.

    Args:
        snr_B: Signal-to-noise ratio at each image's timestep, (B,), > 0.
        gamma: The cap; 5 in the paper.
        prediction: ``epsilon`` or ``v_prediction``.

    Returns:
        Weights, (B,), in (0, 1] for epsilon.
    """
    return snr_B.clamp(max=gamma) / (snr_B if prediction == "epsilon" else snr_B + 1)


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss a spec asks for.

    Attributes:
        spec: Loss settings.
        schedule: The noise schedule, prediction type included.
        scaling_factor: Of the VAE.
        net: Without any wrapper of several processes, for DREAM's extra pass.
    """

    spec: TrainSpec
    schedule: DDPMScheduler
    scaling_factor: float
    net: nn.Module

    def __call__(self, batch: Batch, predict: Predict) -> Tensor:
        """Return the loss of each image, (B,), float32 on the device.

        Args:
            batch: On the device.
            predict: The U-Net as it is called.
        """
        latents_BCHW = latents_of(batch, self.scaling_factor)
        noise_BCHW, noisy_BCHW = self._noise(latents_BCHW, batch)
        target_BCHW = self._target(latents_BCHW, noise_BCHW, batch.timesteps)
        if self.spec.dream_training:
            # It calls with three arguments, and knows of nothing that is told beside them.
            net = partial(self.net, added_cond_kwargs=batch.added)
            noisy_BCHW, target_BCHW = compute_dream_and_update_latents(
                net, self.schedule, batch.timesteps, noise_BCHW, noisy_BCHW, target_BCHW,
                batch.text, self.spec.dream_detail_preservation,
            )  # fmt: skip
            # torch 2.10 keeps the half-precision weights that this pass made without gradients,
            # and the next pass would take them: most weights would then get no gradient.
            torch.clear_autocast_cache()
        predicted_BCHW = predict(noisy_BCHW, batch.timesteps, batch.text, batch.added)
        return _errors(predicted_BCHW, target_BCHW) * self._weights(batch.timesteps)

    def unweighted(self, batch: Batch, predict: Predict) -> Tensor:
        """Return each image's mean squared error, (B,), under plain noise.

        No weights, no DREAM, and a batch without offset and perturbation: what runs with other
        loss settings can be compared by.
        """
        latents_BCHW = latents_of(batch, self.scaling_factor)
        noise_BCHW, noisy_BCHW = self._noise(latents_BCHW, batch)
        target_BCHW = self._target(latents_BCHW, noise_BCHW, batch.timesteps)
        predicted_BCHW = predict(noisy_BCHW, batch.timesteps, batch.text, batch.added)
        return _errors(predicted_BCHW, target_BCHW)

    def _noise(self, latents_BCHW: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the noise to predict and the noised latents; they differ by the perturbation."""
        noise_BCHW = batch.noise
        if batch.offset is not None:
            noise_BCHW = noise_BCHW + self.spec.noise_offset * batch.offset
        added_BCHW = noise_BCHW
        if batch.perturbation is not None:
            added_BCHW = noise_BCHW + self.spec.input_perturbation * batch.perturbation
        noisy_BCHW: Tensor = self.schedule.add_noise(latents_BCHW, added_BCHW, batch.timesteps)
        return noise_BCHW, noisy_BCHW

    def _target(self, latents_BCHW: Tensor, noise_BCHW: Tensor, timesteps_B: Tensor) -> Tensor:
        if self.schedule.config.prediction_type == "epsilon":
            return noise_BCHW
        velocity: Tensor = self.schedule.get_velocity(latents_BCHW, noise_BCHW, timesteps_B)
        return velocity

    def _weights(self, timesteps_B: Tensor) -> Tensor:
        if self.spec.snr_gamma is None:
            return torch.ones_like(timesteps_B, dtype=torch.float32)
        snr_B = compute_snr(self.schedule, timesteps_B)
        return min_snr_weights(snr_B, self.spec.snr_gamma, self.schedule.config.prediction_type)


def _errors(predicted_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
    # fp32: squares of residuals below 0.008 are subnormal in fp16 and lose their digits.
    squares_BCHW = F.mse_loss(predicted_BCHW.float(), target_BCHW.float(), reduction="none")
    return squares_BCHW.mean(dim=(1, 2, 3))
