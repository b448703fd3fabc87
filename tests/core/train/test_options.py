"""Options of optimizer, loss and average: exact across a resume, refused where they cannot work."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from pydantic import ValidationError

from sdcore.errors import UsageError
from sdcore.task.train_spec import TrainSpec
from sdcore.train.arguments import parse
from sdcore.train.randomness import Stream, uniform
from sdcore.train.timesteps import Timesteps
from support.tiny_model import Sizes, make_pipeline

V = ["--prediction_type", "v_prediction"]


def bits(out: Path) -> list[str]:
    folder = out / "checkpoints/step-4"
    files = ("optimizer.pt", "unet/diffusion_pytorch_model.safetensors",
             "unet_ema/diffusion_pytorch_model.safetensors")  # fmt: skip
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files]


@pytest.mark.parametrize("optimizer", ["adafactor", "prodigy"])
def test_a_resume_goes_on_with_every_bit_of_the_optimizer(train: Any, optimizer: str) -> None:
    """Prodigy's estimate lies beside the state of the tensors; lost, it begins again at 1e-6."""
    flags = ["--optimizer", optimizer, "--learning_rate", "0.5", "--use_ema", "--use_ema_warmup",
             "--ema_update_after_step", "1", "--proportion_empty_prompts", "0.5",
             "--timestep_bias_strategy", "later", "--timestep_bias_multiplier", "3"]  # fmt: skip
    whole = train(*flags, "--max_train_steps", "4", out="whole")
    assert whole.code == 0, whole.err
    train(*flags, "--max_train_steps", "2")
    resumed = train(*flags, "--max_train_steps", "4", "--resume_from_checkpoint", "latest")
    assert resumed.code == 0, resumed.err
    assert resumed.events("resumed")[0]["exact"]
    assert resumed.losses() == whole.losses()
    assert bits(resumed.out) == bits(whole.out)
    steps = resumed.metrics(), whole.metrics()
    assert [[line["d"] for line in found.values()] for found in steps] == [
        [line["d"] for line in steps[1].values()]
    ] * 2
    assert (steps[1][4]["d"] is None) == (optimizer == "adafactor")
    other = train("--max_train_steps", "5", "--resume_from_checkpoint", "latest")
    assert other.code == 3
    assert f"it was {optimizer} when the checkpoint was made" in other.err


def test_a_resume_goes_on_with_every_bit_of_an_8_bit_state(train: Any, tmp_path: Path) -> None:
    """Its numbers mean nothing without the scale of their block, and its map is no tensor's own."""
    larger = make_pipeline(tmp_path / "larger", sizes=Sizes((16, 32)))
    flags = ["--pretrained_model_name_or_path", str(larger), "--use_8bit_adam", "--use_ema",
             "--learning_rate", "0.01"]  # fmt: skip
    whole = train(*flags, "--max_train_steps", "4", out="whole")
    assert whole.code == 0, whole.err
    saved = torch.load(whole.out / "checkpoints/step-4/optimizer.pt", weights_only=True)
    kinds = [state["__bnb_optimizer_quant_state__"] for state in saved["state"].values()]
    kinds = [moments["state1"].dtype for moments in kinds]
    assert kinds.count(torch.uint8) > 5, "no state was kept in 8 bits"
    train(*flags, "--max_train_steps", "2")
    resumed = train(*flags, "--max_train_steps", "4", "--resume_from_checkpoint", "latest")
    assert resumed.code == 0, resumed.err
    assert resumed.events("resumed")[0]["exact"]
    assert resumed.losses() == whole.losses()
    assert bits(resumed.out) == bits(whole.out)
    plain = [flag for flag in flags if flag != "--use_8bit_adam"]
    wide = train(*plain, "--max_train_steps", "4", out="wide")
    for step, line in wide.metrics().items():
        assert whole.metrics()[step]["loss"] == pytest.approx(line["loss"], rel=0.02)
    assert whole.losses() != wide.losses()


@pytest.mark.parametrize(
    ("package", "wish"),
    [("prodigyopt", ["--optimizer", "prodigy"]), ("bitsandbytes", ["--use_8bit_adam"])],
)
def test_a_package_that_is_missing_is_told_before_anything_is_encoded(
    train: Any, monkeypatch: pytest.MonkeyPatch, package: str, wish: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = train(*wish)
    assert done.code == 3
    assert f"pip install {package}" in done.err
    assert "caching" not in {event["phase"] for event in done.events("phase")}


def test_the_published_scheduler_samples_from_pure_noise(
    train: Any, model: Path, tmp_path: Path
) -> None:
    """PNDM, which most SD 1.x models have, cannot: its pipeline would draw grey pictures."""
    source = tmp_path / "pndm"
    shutil.copytree(model, source)
    for name, key in (("model_index.json", "scheduler"), ("scheduler/scheduler_config.json", "")):
        record = json.loads((source / name).read_text())
        if key:
            record[key][1] = "PNDMScheduler"
        else:
            record["_class_name"] = "PNDMScheduler"
        (source / name).write_text(json.dumps(record))
    for place, flags in ((model, []), (source, ["--pretrained_model_name_or_path", str(source)])):
        done = train(*flags, *V, "--rescale_betas_zero_snr", "--max_train_steps", "1",
                     "--validation_prompts", "a", "--validation_inference_steps", "2",
                     out=f"of-{place.name}")  # fmt: skip
        assert done.code == 0, done.err
        scheduler = DiffusionPipeline.from_pretrained(done.out).scheduler
        assert isinstance(scheduler, DDIMScheduler)
        assert float(scheduler.alphas_cumprod[-1]) == 0
        scheduler.set_timesteps(4)
        assert scheduler.timesteps.tolist() == [999, 749, 499, 249]
        assert scheduler.config.prediction_type == "v_prediction"
    # Trained on further, the model itself says how, and must not be trained in another way.
    wrong = train("--pretrained_model_name_or_path", str(done.out), "--prediction_type", "epsilon",
                  out="wrong")  # fmt: skip
    assert wrong.code == 2
    assert "the input is the noise itself" in wrong.err


def test_zero_snr_is_refused_for_a_model_that_predicts_noise(train: Any) -> None:
    done = train("--rescale_betas_zero_snr")
    assert done.code == 2
    assert "set prediction_type v_prediction" in done.err


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rescale_betas_zero_snr": True, "prediction_type": "epsilon"}, "use v_prediction"),
        ({"optimizer": "prodigy", "use_8bit_adam": True}, "a form of adamw"),
        ({"optimizer": "prodigy", "scale_lr": True}, "leave scale_lr out"),
        ({"timestep_bias_strategy": "range", "timestep_bias_begin": 1000}, "must be below"),
        ({"validation_split": 1.5}, "neither a share nor a whole number"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        TrainSpec.model_validate(settings)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--optimizer", "prodigy"], "learning_rate 0.0001 with optimizer prodigy"),
        (["--optimizer", "adafactor", "--adam_beta1", "0.8"], "adam_beta1 has no effect"),
        (["--use_ema_warmup"], "use_ema_warmup has no effect without use_ema"),
        (["--use_ema", "--ema_power", "1"], "ema_power has no effect without use_ema_warmup"),
        (["--timestep_bias_multiplier", "2"], "with timestep_bias_strategy none"),
        ([*V, "--rescale_betas_zero_snr", "--snr_gamma", "5"], "its weight is 0"),
    ],
)
def test_a_flag_that_does_nothing_here_is_told(flags: list[str], words: str) -> None:
    assert words in " ".join(parse(flags, {}).notes)
    usual = ["--optimizer", "prodigy", "--learning_rate", "1", "--use_ema", "--use_ema_warmup"]
    assert parse(usual, {}).notes == []


def test_biased_timesteps_come_as_often_as_they_should() -> None:
    """And the same number is drawn for a sample whatever is drawn for the others."""
    spec = TrainSpec(timestep_bias_strategy="later", timestep_bias_multiplier=4.0)
    timesteps = Timesteps.of(spec, 7, 1000)
    found = timesteps.at(range(4000))
    assert found[1234:1237] == timesteps.at([1234, 1235, 1236])
    assert 0 <= min(found) <= max(found) <= 999
    share = sum(t >= 750 for t in found) / len(found)
    assert share == pytest.approx(4 * 0.25 / (4 * 0.25 + 0.75), abs=0.03)
    whole = TrainSpec(timestep_bias_strategy="earlier", timestep_bias_portion=1.0)
    plain = [int(uniform(7, Stream.TIMESTEP, p) * 1000) for p in range(100)]
    assert Timesteps.of(whole, 7, 1000).at(range(100)) == plain
    beyond = TrainSpec(timestep_bias_strategy="range", timestep_bias_end=1001)
    with pytest.raises(UsageError, match="timestep_bias_end 1001"):
        Timesteps.of(beyond, 7, 1000)
