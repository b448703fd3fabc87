"""A run that was killed and resumed is the run that was not, to the last bit (CPU)."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support.tiny_model import make_dataset
from support.trained import Trained

LAUNCHER = (
    "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
)  # fmt: skip
Spawn = Callable[..., "subprocess.Popen[str]"]

# Four images a step over ten: windows run across epochs, and no step ends with one.
FLAGS = [
    "--max_train_steps", "6", "--gradient_accumulation_steps", "2", "--checkpointing_steps", "2",
    "--use_ema", "--random_flip", "--lr_scheduler", "cosine", "--lr_warmup_steps", "2",
    "--learning_rate", "0.01",
]  # fmt: skip
# One after another in one folder: mid-epoch, mid-accumulation (the second pass of step 4),
# before the manifest, after the last save; each but the first resumes what the last one left.
KILLS = ("kill@step=4", "kill@micro=4", "kill@save=4:middle", "kill@pipeline=begin")


def finish(process: "subprocess.Popen[str]", code: int) -> str:
    _, err = process.communicate(timeout=240)
    assert process.returncode == code, err
    return err


def test_kills_at_the_worst_moments_change_no_bit(spawn: Spawn, tmp_path: Path) -> None:
    """Weights, average, optimizer, losses and gradient norms; captions and flips are drawn too."""
    captions = [[f"one {i}", f"two {i}", f"three {i}"] for i in range(10)]
    folder = make_dataset(tmp_path / "lists", 10, captions=captions)
    flags = [*FLAGS, "--train_data_dir", str(folder)]
    whole = spawn(*flags, out="whole", SDTUI_HOME=str(tmp_path / "home-whole"))
    for fault in KILLS:
        finish(spawn(*flags, "--resume_from_checkpoint", "latest", fault=fault), -signal.SIGKILL)
        if "middle" in fault:
            assert (tmp_path / "out/checkpoints/step-4.partial").exists()
    err = finish(spawn(*flags, "--resume_from_checkpoint", "latest"), 0)
    assert "resumed from checkpoints/step-6, bit for bit" in err
    finish(whole, 0)
    cut, uncut = (Trained(0, tmp_path / name, "") for name in ("out", "whole"))
    assert cut.bits(6) == uncut.bits(6)
    assert len(cut.bits(6)) == 4
    assert cut.losses() == uncut.losses()
    assert len(cut.losses()) == 6
    assert not list((tmp_path / "out/checkpoints").glob("*.partial"))


def test_more_processes_go_on_with_the_same_samples(
    spawn: Spawn, train: Any, tmp_path: Path
) -> None:
    """A second GPU becomes free: data counted from zero again would repeat half an epoch."""
    one = ("--train_batch_size", "2", "--gradient_accumulation_steps", "2", "--use_ema")
    two = ("--train_batch_size", "1", "--gradient_accumulation_steps", "2", "--use_ema")
    whole = train(*one, "--max_train_steps", "5", out="whole")
    first = train(*one, "--max_train_steps", "2")
    process = spawn(
        *two, "--max_train_steps", "5", "--resume_from_checkpoint", "latest",
        launcher=LAUNCHER, ACCELERATE_USE_CPU="true",
    )  # fmt: skip
    finish(process, 0)
    assert set(first.metrics()) == set(whole.metrics()) == {1, 2, 3, 4, 5}
    (event,) = first.events("resumed")
    assert (event["step"], event["exact"]) == (2, False)
    for step, line in whole.metrics().items():
        assert first.metrics()[step]["loss"] == pytest.approx(line["loss"], rel=1e-5)
        assert first.metrics()[step]["grad_norm"] == pytest.approx(line["grad_norm"], rel=1e-4)
    weights = "checkpoints/step-5/unet/diffusion_pytorch_model.safetensors"
    ours, theirs = load_file(first.out / weights), load_file(whole.out / weights)
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-3, atol=1e-5)
