"""What only a GPU can show. Skipped without one; on one GPU of any size it takes two minutes.

    .venv/bin/python -m pytest tests/core/train/test_on_cuda.py

The other tests compute on the CPU what is the same on both; here is what differs.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sdcore.train import loop, probing
from sdcore.train.late import LateReader
from support.tiny_model import Sizes, make_pipeline, make_sdxl
from support.trained import Trained

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
    # What a driver or cuDNN warns of on some machine is no fault of the training.
    pytest.mark.filterwarnings("default"),
]

KINDS = {
    "full": ["--use_ema"],
    "lora": ["--train_lora", "--rank", "2", "--use_ema", "--learning_rate", "0.01"],
    "sdxl": ["--use_ema", "--center_crop"],
    "sdxl lora": ["--train_lora", "--train_text_encoder", "--rank", "2", "--learning_rate", "0.01"],
}
LATEST = ["--resume_from_checkpoint", "latest"]


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sdxl(tmp_path_factory.mktemp("model") / "sdxl")


@pytest.fixture
def larger(tmp_path: Path) -> list[str]:
    """Flags of a model some of whose weights have the 4,096 numbers that 8-bit state begins at."""
    return ["--pretrained_model_name_or_path",
            str(make_pipeline(tmp_path / "larger", sizes=Sizes((16, 32))))]  # fmt: skip


def losses(done: Trained) -> list[float]:
    assert done.code == 0, done.err
    return [line["loss"] for _, line in sorted(done.metrics().items())]


def chosen(done: Trained) -> dict[str, str]:
    return {event["what"]: event["chosen"] for event in done.events("choice")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_training_in_half_precision_draws_saves_and_resumes(
    train: Callable[..., Trained], sdxl: Path, kind: str, precision: str
) -> None:
    """Autocast, loss scaling, fused AdamW, page-locked copies and the sampler, all for real."""
    flags = [*KINDS[kind], "--mixed_precision", precision, "--checkpointing_steps", "2",
             "--validation_prompts", "a red square", "--validation_steps", "2",
             "--validation_inference_steps", "2", "--validation_split", "2"]  # fmt: skip
    if "sdxl" in kind:
        flags += ["--pretrained_model_name_or_path", str(sdxl)]
    whole = train(*flags, "--max_train_steps", "4", out="whole")
    expected = losses(whole)
    assert np.isfinite(expected).all()
    (model,) = whole.events("model")
    assert (model["device"], model["precision"]) == (torch.cuda.get_device_name(), precision)
    assert chosen(whole)["memory_format"] == "channels_last"
    for line in whole.metrics().values():
        assert 0 < line["gpu_allocated"] <= line["gpu_peak"]
        assert (line["loss_scale"] is not None) == (precision == "fp16")
    assert not whole.events("warning")
    weights = ["raw", "ema"] if "--use_ema" in flags else ["raw"]
    for name in ["step-0/base", *(f"step-{step}/{w}" for step in (2, 4) for w in weights)]:
        picture = np.asarray(Image.open(whole.out / "samples" / f"{name}-00.png"))
        assert picture.std() > 1, f"{name} is of one colour: not a number, drawn"

    assert train(*flags, "--max_train_steps", "2").code == 0
    resumed = train(*flags, "--max_train_steps", "4", *LATEST)
    # Some kernels add in an order that varies: equal bits are not promised here.
    assert losses(resumed) == pytest.approx(expected, rel=0.01)
    assert resumed.events("resumed")[0]["exact"]
    folder = "lora" if "lora" in kind else "unet"
    for step in (2, 4):
        (file,) = (resumed.out / f"checkpoints/step-{step}/{folder}").glob("*.safetensors")
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float32}


def test_both_devices_train_on_the_same_draws(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise or timesteps that were drawn on the device would make another training of it."""
    flags = ["--random_flip", "--snr_gamma", "5", "--noise_offset", "0.1", "--max_train_steps", "4"]
    here = train(*flags, out="gpu")
    assert chosen(here)["memory_format"] == "contiguous"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    there = train(*flags, out="cpu")
    assert losses(here) == pytest.approx(losses(there), rel=0.01)


def test_a_checkpoint_goes_from_one_device_to_the_other_and_back(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moments in another order of memory than their weights would be another weight's, unseen."""
    flags = ["--use_ema", "--learning_rate", "0.01", "--memory_format"]
    plain = train(*flags, "contiguous", "--max_train_steps", "6", out="plain")
    for steps, memory_format, cpu in (("2", "channels_last", "false"), ("4", "contiguous", "true"),
                                      ("6", "channels_last", "false")):  # fmt: skip
        monkeypatch.setenv("ACCELERATE_USE_CPU", cpu)
        done = train(*flags, memory_format, "--max_train_steps", steps, *LATEST)
    assert losses(done) == pytest.approx(losses(plain), rel=0.01)


def test_weights_and_moments_are_channels_last(
    train: Callable[..., Trained], kits: list[Any]
) -> None:
    assert train("--mixed_precision", "bf16").code == 0
    (kit,) = kits
    layers = [w for w in kit.updater.parameters if w.dim() == 4 and min(w.shape[1:]) > 1]
    assert layers
    for weight in layers:
        assert weight.is_cuda
        assert weight.is_contiguous(memory_format=torch.channels_last)
        assert kit.updater.optimizer.state[weight]["exp_avg"].stride() == weight.stride()


def test_no_step_waits_for_the_device(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first steps may, for tables they move; from then on torch raises where one would."""
    run_window, watched = loop.Loop.run_window, []

    def watching(self: loop.Loop) -> bool:
        if self.step < 3:
            return run_window(self)
        watched.append(self.step)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return run_window(self)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop.Loop, "run_window", watching)
    done = train("--mixed_precision", "bf16", "--use_ema", "--center_crop", "--snr_gamma", "5",
                 "--max_train_steps", "6")  # fmt: skip
    assert done.code == 0, done.err
    assert watched == [3, 4, 5]


def test_numbers_are_read_late_and_as_they_were() -> None:
    reader: LateReader[str] = LateReader()
    values = torch.arange(3.0, device="cuda")
    reader.push(values, "first")
    values += 10  # queued behind the copy
    assert reader.take() == []
    torch.cuda.set_sync_debug_mode("error")
    try:
        reader.push(values, "second")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert reader.take() == [([0.0, 1.0, 2.0], "first")]
    assert reader.take(keep=0) == [([10.0, 11.0, 12.0], "second")]


def overfill() -> None:
    """Ask the device for twice what it has."""
    torch.empty(2 * torch.cuda.mem_get_info()[1], dtype=torch.uint8, device="cuda")


def test_a_full_gpu_ends_with_code_5_and_its_record(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = loop.Loop.forward

    def full(self: loop.Loop, micro: int) -> Any:
        if self.step == 1:
            overfill()
        return forward(self, micro)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "forward", full)
        done = train("--checkpointing_steps", "1")
    assert done.code == 5, done.err
    record = json.loads((done.out / "ranks/rank-0.json").read_text())
    assert record["outcome"] == "out_of_memory"
    assert "train_batch_size 2 -> 1" in record["remedy"]
    assert record["peak_memory"] > 0
    again = train(*LATEST)
    assert again.code == 0, again.err


@pytest.mark.parametrize("too_large", [None, 4])
def test_larger_passes_are_tried_and_the_step_stays(
    train: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch, too_large: int | None
) -> None:
    """One that does not fit leaves the others, and the training, as they were."""
    split = ["--train_batch_size", "1", "--gradient_accumulation_steps", "4",
             "--gradient_checkpointing=auto", "--mixed_precision", "bf16"]  # fmt: skip
    passing, tried = probing._pass, set()

    def measured(one: loop.Loop, batch: int) -> float:
        tried.add(batch)
        if batch == too_large:
            overfill()
        return passing(one, batch) / batch**2  # the larger one is surely faster

    monkeypatch.setattr(probing, "_pass", measured)
    found = train(*split, "--auto_batch_size", out="found")
    plain = train(*split, out="plain")
    assert losses(found) == pytest.approx(losses(plain), rel=0.02)
    assert tried == {1, 2, 4}
    assert chosen(found)["train_batch_size"] == ("2 x 2" if too_large else "4 x 1")
    assert chosen(found)["gradient_checkpointing"] == "off"


def test_an_average_in_host_memory_is_the_same_average(
    train: Callable[..., Trained], kits: list[Any]
) -> None:
    flags = ["--use_ema", "--ema_decay", "0.5", "--mixed_precision", "bf16",
             "--learning_rate", "0.01"]  # fmt: skip
    here, there = train(*flags, out="here"), train(*flags, "--offload_ema", out="there")
    assert losses(there) == pytest.approx(losses(here), rel=0.01)
    landing = kits[1].ema._landing
    assert all(copy.is_pinned() for copy in landing._host)
    averages = [kit.ema.model.state_dict() for kit in kits]
    assert not any(weight.is_cuda for weight in averages[1].values())
    for name, weight in averages[0].items():
        torch.testing.assert_close(averages[1][name], weight.cpu(), rtol=0.02, atol=0.002)


def test_8_bit_adam_trains_and_resumes(train: Callable[..., Trained], larger: list[str]) -> None:
    flags = [*larger, "--use_8bit_adam", "--mixed_precision", "bf16", "--learning_rate", "0.001"]
    whole = train(*flags, "--max_train_steps", "4", out="whole")
    assert train(*flags, "--max_train_steps", "2").code == 0
    resumed = train(*flags, "--max_train_steps", "4", *LATEST)
    assert losses(resumed) == pytest.approx(losses(whole), rel=0.01)
