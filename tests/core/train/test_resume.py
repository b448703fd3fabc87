"""A run that was killed and resumed is the run that was not, to the last bit (CPU)."""

import hashlib
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


def bits(out: Path) -> dict[str, str]:
    """Every file of the last checkpoint that holds numbers, and the pipeline's weights."""
    files = [*(out / "checkpoints/step-6").rglob("*.safetensors"),
             out / "checkpoints/step-6/optimizer.pt",
             out / "unet/diffusion_pytorch_model.safetensors"]  # fmt: skip
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


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
    assert bits(tmp_path / "out") == bits(tmp_path / "whole")
    assert len(bits(tmp_path / "out")) == 4
    assert losses(tmp_path / "out") == losses(tmp_path / "whole")
    assert not list((tmp_path / "out/checkpoints").glob("*.partial"))


def losses(out: Path) -> list[str]:
    found: list[str] = Trained(0, out, "").losses()
    assert len(found) == 6
    return found
