"""A run that diffusers' train_text_to_image.py began goes on here, with all that it kept."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from diffusers import UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
AVERAGE = "unet_ema/diffusion_pytorch_model.safetensors"


class Began:
    """Updates a model by accelerate, and keeps its state as the reference's hooks do."""

    def __init__(self, model: Path) -> None:
        self.unet = UNet2DConditionModel.from_pretrained(model / "unet")
        self.ema = EMAModel(
            self.unet.parameters(), model_cls=UNet2DConditionModel, model_config=self.unet.config
        )
        optimizer = torch.optim.AdamW(self.unet.parameters(), lr=1e-3)
        schedule = get_scheduler("constant", optimizer=optimizer)
        self.accelerator = Accelerator(cpu=True)
        prepared = self.accelerator.prepare(self.unet, optimizer, schedule)
        _, self.optimizer, self.schedule = prepared

        def keep(models: list[Any], weights: list[Any], folder: str) -> None:
            self.ema.save_pretrained(Path(folder, "unet_ema"))
            for each in models:
                each.save_pretrained(Path(folder, "unet"))
                weights.pop()

        self.accelerator.register_save_state_pre_hook(keep)

    def update(self) -> None:
        for number, weight in enumerate(self.unet.parameters()):
            weight.grad = torch.full_like(weight, 1.0 + number)
        self.optimizer.step()
        self.schedule.step()
        self.ema.step(self.unet.parameters())

    def save(self, folder: Path) -> Path:
        self.accelerator.save_state(str(folder))
        return folder


@pytest.fixture
def began(model: Path, tmp_path: Path) -> Began:
    began = Began(model)
    began.update()
    began.save(tmp_path / "out" / "checkpoint-1")
    began.update()
    began.save(tmp_path / "out" / "checkpoint-2")
    return began


def test_latest_takes_over_weights_average_moments_and_step(
    train: Any, began: Began, tmp_path: Path
) -> None:
    """What the first step here makes shows what it began with: a lost moment is another step."""
    done = train("--resume_from_checkpoint", "latest", "--use_ema", "--max_train_steps", "3",
                 "--learning_rate", "0.01", "--adam_weight_decay", "0.1")  # fmt: skip
    assert done.code == 0, done.err
    (event,) = done.events("resumed")
    assert (event["step"], event["exact"], event["path"]) == (2, False, "checkpoint-2")
    text = " ".join(warning["text"] for warning in done.events("warning"))
    assert "this trainer's own from here on" in text
    assert "records no settings" in text
    assert done.steps == ["step-3"]
    new = torch.load(done.out / "checkpoints/step-3/optimizer.pt", weights_only=True)
    before = began.optimizer.state_dict()["state"]
    weights, average = (
        load_file(done.out / "checkpoints/step-3" / name) for name in (WEIGHTS, AVERAGE)
    )
    names = [name for name, _ in began.unet.named_parameters()]
    old_average = dict(zip(names, began.ema.shadow_params, strict=True))
    decay = 3 / 12  # diffusers' for the third update
    for number, (name, weight) in enumerate(began.unet.named_parameters()):
        moments = new["state"][number]
        assert moments["step"] == 3
        gradient = (moments["exp_avg"] - 0.9 * before[number]["exp_avg"]) / 0.1
        square = 0.999 * before[number]["exp_avg_sq"] + 0.001 * gradient**2
        torch.testing.assert_close(moments["exp_avg_sq"], square, rtol=1e-4, atol=1e-7)
        mean, size = moments["exp_avg"] / (1 - 0.9**3), moments["exp_avg_sq"] / (1 - 0.999**3)
        stepped = weight.detach() * (1 - 0.01 * 0.1) - 0.01 * mean / (size.sqrt() + 1e-8)
        torch.testing.assert_close(weights[name], stepped, rtol=1e-4, atol=1e-6)
        expected = decay * old_average[name] + (1 - decay) * weights[name]
        torch.testing.assert_close(average[name], expected, rtol=1e-4, atol=1e-6)
    assert new["param_groups"][0]["weight_decay"] == 0.1


def test_ours_rule_once_they_are_newer_and_damage_is_named(
    train: Any, began: Began, tmp_path: Path
) -> None:
    """A cut archive of moments loads as far as it goes in some readers."""
    out = tmp_path / "out"
    optimizer = out / "checkpoint-2" / "optimizer.bin"
    optimizer.write_bytes(optimizer.read_bytes()[:-200])
    first = train("--resume_from_checkpoint", "latest", "--max_train_steps", "2")
    (event,) = first.events("resumed")
    assert event["step"] == 1
    assert event["passed_over"][0].startswith("checkpoint-2: optimizer.bin cannot be read")
    again = train("--resume_from_checkpoint", "latest", "--max_train_steps", "3")
    assert again.events("resumed")[-1]["path"] == "checkpoints/step-2"
    refused = train("--resume_from_checkpoint", "checkpoint-2")
    assert refused.code == 3
    fresh = train()
    assert fresh.code == 3


def test_random_states_are_never_opened(train: Any, began: Began, tmp_path: Path) -> None:
    """They are pickles of objects; loading one from a stranger runs the stranger's code."""
    folder = tmp_path / "out" / "checkpoint-2"
    (folder / "random_states_0.pkl").write_bytes(b"not a pickle")
    elsewhere = train("--resume_from_checkpoint", str(folder), "--max_train_steps", "3", out="new")
    assert elsewhere.code == 0, elsewhere.err
    (folder / "optimizer.bin").write_bytes(pickle.dumps(print))
    assert train("--resume_from_checkpoint", str(folder), out="newer").code == 3


def test_moments_of_another_optimizer_are_refused(train: Any, began: Began, tmp_path: Path) -> None:
    """Loaded all the same, they fail in the first step, or pair weights with wrong moments."""
    path = tmp_path / "out" / "checkpoint-2" / "optimizer.bin"
    state = torch.load(path, weights_only=True)
    state["state"] = {n: {"state1": each["exp_avg"]} for n, each in state["state"].items()}
    torch.save(state, path)
    done = train("--resume_from_checkpoint", "checkpoint-2")
    assert done.code == 3
    assert "it is not of 32-bit AdamW" in done.err
