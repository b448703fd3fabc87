"""The training against a plain one (``support.plain_training``): fp32, nothing cached."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch import Tensor

from sdcore.task.train_spec import TrainSpec
from sdcore.train import building, loop
from sdcore.train.ema import Decay, Ema
from sdcore.train.optimizing import learning_rates, peak_rate
from support.against_plain import assert_equal, both
from support.plain_training import GROWTH, SCALE

V = ["--prediction_type", "v_prediction"]
CASES: dict[str, list[str]] = {
    "epsilon": ["--random_flip", "--use_ema", "--lr_scheduler", "cosine", "--max_grad_norm", "0.3"],
    "snr": ["--snr_gamma", "5"],
    "offset": ["--noise_offset", "0.1", "--input_perturbation", "0.1"],
    "v": [*V, "--use_ema", "--use_ema_warmup", "--ema_inv_gamma", "2", "--ema_power", "0.75",
          "--ema_update_after_step", "3"],
    "v snr": [*V, "--snr_gamma", "5"],
    "dream": ["--dream_training", "--dream_detail_preservation", "1.5"],
    "empty captions": ["--proportion_empty_prompts", "0.4", "--timestep_bias_strategy", "earlier",
                       "--timestep_bias_multiplier", "9"],
    "zero snr": [*V, "--rescale_betas_zero_snr", "--timestep_bias_strategy", "later",
                 "--timestep_bias_portion", "0.002", "--timestep_bias_multiplier", "300"],
    "adafactor": ["--optimizer", "adafactor", "--learning_rate", "0.001",
                  "--timestep_bias_strategy", "range", "--timestep_bias_begin", "100",
                  "--timestep_bias_end", "300", "--timestep_bias_multiplier", "0.01"],
    "prodigy": ["--optimizer", "prodigy", "--learning_rate", "1"],
    # No weight of this model has the 4,096 numbers from which on state is rounded to 8 bits.
    "8-bit adam": ["--use_8bit_adam", "--use_ema"],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_losses_norms_rates_and_weights_are_those_of_a_plain_training(
    case: str, train: Any, model: Path, data: Path
) -> None:
    """A cache, a fused update or a late reading that changes the numbers is a wrong training."""
    assert_equal(*both(train, model, data, CASES[case]))


def test_loss_scale_and_skipped_steps_are_those_of_a_plain_training(
    train: Any, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window that overflowed uses its images up and moves nothing: no rate, no average."""
    overflows = (0, 5, 6, 17)
    scaler, forward = torch.amp.GradScaler, loop.Loop.forward

    def strike(self: loop.Loop, micro: int) -> Tensor:
        return forward(self, micro) * (math.inf if self.window in overflows else 1.0)

    monkeypatch.setattr(loop.Loop, "forward", strike)
    # In fp32, where scaling by powers of two changes no bit.
    monkeypatch.setattr(
        building.torch.amp, "GradScaler",
        lambda device, enabled: scaler(device, init_scale=SCALE, growth_interval=GROWTH),
    )  # fmt: skip
    flags = ["--use_ema", "--lr_scheduler", "cosine"]
    assert_equal(*both(train, model, data, flags, overflows))


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
        ours, theirs = Ema(unet, Decay(limit), offload=False), EMAModel(parameters, decay=limit)
        for _ in range(60):
            with torch.no_grad():
                for parameter in parameters:
                    parameter.mul_(0.98)
            ours.step(parameters)
            theirs.step(parameters)
        for a, b in zip(ours.model.parameters(), theirs.shadow_params, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
        assert ours.decay.at(60) == theirs.cur_decay_value


def test_an_average_in_host_memory_is_the_same_to_the_bit(model: Path) -> None:
    """Read before the copies have landed, or copied in another order, it would be another one."""
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
    unet.to(memory_format=torch.channels_last)
    parameters = list(unet.parameters())
    here, there = (Ema(unet, Decay(0.9), offload=offload) for offload in (False, True))
    places = set()
    for step in range(1, 5):
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(step * 0.1)
        for average in (here, there):
            average.step(parameters)
        assert there._landing is not None
        places.add(tuple(copy.data_ptr() for copy in there._landing._host))
        for a, b in zip(here.model.parameters(), there.model.parameters(), strict=True):
            assert torch.equal(a, b)
    assert len(places) == 1, "gigabytes of host memory are taken anew at each step"


def test_a_training_with_the_average_in_host_memory_ends_with_the_same_bits(train: Any) -> None:
    """Sampled, measured, saved and resumed: the average travels to the device and back."""
    flags = ["--use_ema", "--validation_prompts", "a", "--validation_steps", "2",
             "--validation_inference_steps", "1", "--validation_split", "2"]  # fmt: skip
    here = train(*flags, out="here")
    assert train(*flags, "--offload_ema", "--max_train_steps", "1").code == 0
    there = train(*flags, "--offload_ema", "--resume_from_checkpoint", "latest")
    assert there.code == 0, there.err
    assert there.bits(3) == here.bits(3)
    seen = [[run.metrics()[step]["val_loss_ema"] for step in (2, 3)] for run in (here, there)]
    assert seen[0] == seen[1]


def test_scale_lr_multiplies_the_rate_by_the_images_of_a_step(train: Any) -> None:
    """Told and not done, a run of 8 GPUs trains at a hundredth of the rate that was meant."""
    flags = ["--train_batch_size", "2", "--gradient_accumulation_steps", "3",
             "--max_train_steps", "2", "--lr_scheduler", "constant_with_warmup",
             "--lr_warmup_steps", "1"]  # fmt: skip
    scaled = train(*flags, "--learning_rate", "0.0005", "--scale_lr", out="scaled")
    assert scaled.code == 0, scaled.err
    plain = train(*flags, "--learning_rate", "0.003", out="plain")
    assert scaled.bits(2) == plain.bits(2)
    assert scaled.metrics()[2]["lr"] == pytest.approx(0.003)
    spec = TrainSpec(scale_lr=True, learning_rate=0.5, train_batch_size=2)
    assert (peak_rate(spec, 4), peak_rate(spec, 1)) == (4.0, 1.0)
