"""Trains twice, by the trainer and plainly, and compares every figure and the weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from diffusers import UNet2DConditionModel

from sdcore.task.train_spec import TrainSpec
from support.plain_training import PASSES, SCALE, STEPS, Plain
from support.trained import Trained


def both(
    train: Any,
    model: Path,
    data: Path,
    flags: list[str],
    overflows: Sequence[int] = (),
    kind: type[Plain] = Plain,
) -> tuple[Trained, Plain, list[dict[str, Any]]]:
    """Train twice: by the trainer, and plainly."""
    common = ["--gradient_accumulation_steps", str(PASSES), "--max_train_steps", str(STEPS),
              "--learning_rate", "0.003", "--lr_warmup_steps", "1",
              # Adam divides by the gradient's own size: at 1e-8 it makes 1 % of rounding noise.
              "--adam_epsilon", "1e-4"]  # fmt: skip
    ours = train(*common, *flags)
    assert ours.code == 0, ours.err
    saved = json.loads((ours.out / f"checkpoints/step-{STEPS}/trainer.json").read_text())["spec"]
    plain = kind(model, data, TrainSpec.model_validate(saved, strict=False))
    plain.scale = SCALE if overflows else None
    return ours, plain, plain.train(overflows)


def assert_equal(ours: Trained, plain: Plain, told: list[dict[str, Any]]) -> None:
    """Every figure of every step, and the weights at the end."""
    lines = [ours.metrics()[step] for step in range(1, STEPS + 1)]
    for name in ("loss", "grad_norm", "lr"):
        figures = pytest.approx([step[name] for step in told], abs=1e-5)
        assert [line[name] for line in lines] == figures, name
    if plain.spec.optimizer == "prodigy":
        assert [line["d"] for line in lines] == pytest.approx(
            [step["d"] for step in told], rel=1e-4
        )
        assert lines[-1]["d"] > 10 * lines[0]["d"]
    for name in ("loss_scale", "skipped"):
        assert [line[name] for line in lines] == [step[name] for step in told], name
    weights = plain.ema.shadow_params if plain.spec.use_ema else list(plain.unet.parameters())
    trained = UNet2DConditionModel.from_pretrained(ours.out, subfolder="unet").parameters()
    worst = max(float((a - b).detach().abs().max()) for a, b in zip(trained, weights, strict=True))
    assert worst < 1e-5
