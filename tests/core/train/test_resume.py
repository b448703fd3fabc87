"""A run that was killed and resumed is the run that was not, to the last bit (CPU)."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from support.tiny_model import make_dataset
from support.trained import Trained

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
