"""A run that was killed and resumed is the run that was not, to the last bit (CPU)."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sdcore.train.checkpoint import set_aside
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


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_going_back_to_a_checkpoint_leaves_what_came_after_it_behind(
    train: Callable[..., Trained], tmp_path: Path
) -> None:
    """The way not taken has the higher steps: ``latest`` would go back to it after a kill."""
    flags = ["--max_train_steps", "6", "--checkpointing_steps", "2"]
    first = train(*flags).bits(6)

    back = train(*flags, "--resume_from_checkpoint", "step-2", "--max_train_steps", "3")

    kept = tmp_path / "out/checkpoints"
    assert "step-4 and step-6 after step 2 moved to checkpoints/aside-1" in back.err
    assert names(kept) == ["aside-1", "step-2", "step-3"]
    assert names(kept / "aside-1") == ["step-4", "step-6"]
    again = train(*flags, "--resume_from_checkpoint", "latest")
    assert "resumed from checkpoints/step-3, bit for bit" in again.err
    assert again.bits(6) == first


def test_a_second_going_back_touches_nothing_of_the_first(tmp_path: Path) -> None:
    """Two ways were tried and left; either may be wanted again."""
    for name in ("step-2", "step-4", "aside-1/step-4", "aside-x", "step-6.partial"):
        (tmp_path / name).mkdir(parents=True)

    assert set_aside(tmp_path, 2) == (tmp_path / "aside-2", ["step-4"])
    assert set_aside(tmp_path, 2)[1] == []

    assert names(tmp_path) == ["aside-1", "aside-2", "aside-x", "step-2", "step-6.partial"]
    assert names(tmp_path / "aside-1") == names(tmp_path / "aside-2") == ["step-4"]


def test_an_attempt_without_a_checkpoint_begins_where_the_first_one_did(
    train: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun from another run's checkpoint and killed before a save, it began at step 0."""
    train("--max_train_steps", "2", out="other")
    start = str(tmp_path / "other/checkpoints/step-2")
    monkeypatch.setenv("SDTUI_FIRST_CHECKPOINT", start)

    done = train("--max_train_steps", "3", "--resume_from_checkpoint", "latest")
    assert f"resumed from {start}, bit for bit" in done.err
    assert names(tmp_path / "other/checkpoints") == ["step-2"]

    again = train("--max_train_steps", "4", "--resume_from_checkpoint", "latest")
    assert "resumed from checkpoints/step-3" in again.err
