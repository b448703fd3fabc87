"""One, two and four processes train the same run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support import worlds
from support.tiny_model import make_shapes
from support.trained import Trained

SHAPES = [(60, 30), (30, 60), (40, 40), (62, 31), (41, 42), (31, 62), (44, 44), (66, 33), (36, 36),
          (60, 31), (34, 35)]  # fmt: skip
STEPS, WINDOW = 4, 8


def samples(run: Trained) -> dict[int, list[Any]]:
    """Return what each position showed; of positions shown twice, the later."""
    files = sorted(run.out.glob("samples-*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return {line[0]: line[1:] for line in lines}


def test_one_two_and_four_processes_train_on_the_same_samples(
    flags: list[str], tmp_path: Path
) -> None:
    """Noise, timestep, flip, crop and caption of every sample, also resumed on another number.

    What a rank draws by its own number, or counts from its own start, is another training.
    """
    data = make_shapes(tmp_path / "data", SHAPES)
    base = [*flags, "--train_data_dir", str(data), "--train_batch_size", "2", "--random_flip",
            "--checkpointing_steps", "2", "--use_ema", "--learning_rate", "0.001"]  # fmt: skip
    sizes = ["--enable_bucket", "--bucket_reso_steps", "8"]

    def run(out: str, size: int, *more: str, steps: int = STEPS) -> dict[str, Any]:
        passes = ["--gradient_accumulation_steps", str(WINDOW // 2 // size)]
        own = [*base, *passes, "--max_train_steps", str(steps), *more]
        return {"out": out, "size": size, "flags": own}

    onward = (*sizes, "--resume_from_checkpoint", "latest")
    in_processes(tmp_path, [
        run("squares-1", 1), run("squares-4", 4),
        run("buckets-1", 1, *sizes), run("buckets-2", 2, *sizes), run("buckets-4", 4, *sizes),
        run("mixed", 4, *sizes, steps=2), run("mixed", 1, *onward, steps=3),
        run("mixed", 2, *onward),
    ])  # fmt: skip
    same(tmp_path, ["squares-1", "squares-4"], shapes=1)
    same(tmp_path, ["buckets-1", "buckets-2", "buckets-4", "mixed"], shapes=3)
    resumed = Trained(0, tmp_path / "mixed", "").events("resumed")
    assert [(event["step"], event["exact"]) for event in resumed] == [(2, False), (3, False)]


def test_a_disk_full_for_longer_than_ranks_wait_costs_time_alone(
    flags: list[str], tmp_path: Path
) -> None:
    """Full on Friday evening: the others' collective times out, and ends the run in the night."""
    own = [*flags, "--train_batch_size", "1", "--checkpointing_steps", "1"]
    in_processes(tmp_path, [{"out": "full", "size": 2, "flags": own, "full_s": 6.0}])
    done = Trained(0, tmp_path / "full", "")
    assert done.steps == ["step-1", "step-2", "step-3"]
    assert "paused" in [event["phase"] for event in done.events("phase")]
    assert done.events("checkpoint")[0]["stall"] > 12
    assert [done.rank(rank)["outcome"] for rank in range(2)] == ["done", "done"]


def test_a_bad_image_is_told_once_counted_and_left_out_by_all(
    flags: list[str], tmp_path: Path
) -> None:
    """Counted by each process, those that rank 1 found were told nowhere and forgotten."""
    data = make_shapes(tmp_path / "data", SHAPES)
    own = [*flags, "--train_data_dir", str(data), "--train_batch_size", "1", "--on_bad_image",
           "skip", "--checkpointing_steps", "6", "--no-cache_latents"]  # fmt: skip
    two = {"out": "bad", "size": 2, "flags": [*own, "--max_train_steps", "6"], "spoiled": [4, 0]}
    in_processes(tmp_path, [two])
    done = Trained(0, tmp_path / "bad", "")
    shown = samples(done)
    first = min(position for position, (row, *_) in shown.items() if row == 4)
    assert first % 2 == 1, "the process that tells found it itself"
    warned = [event["text"] for event in done.events("warning") if "went bad" in event["text"]]
    assert len(warned) == 1
    assert "4.png went bad during training (spoiled)" in warned[0]
    counts = [line["bad_images"] for _, line in sorted(done.metrics().items())]
    assert (counts[0], counts[-1]) == (None, 1)
    more = [*own, "--max_train_steps", "9", "--resume_from_checkpoint", "latest"]
    in_processes(tmp_path, [{"out": "bad", "size": 1, "flags": more}])
    assert done.metrics()[9]["bad_images"] == 1
    state = json.loads((done.out / "checkpoints/step-9/trainer.json").read_bytes())
    assert state["bad_rows"] == [4]
    again = [event for event in done.events("warning") if "went bad" in event["text"]]
    assert len(again) == 1


def in_processes(folder: Path, runs: list[dict[str, Any]]) -> None:
    """Train the runs one after another."""
    done = subprocess.run(
        [sys.executable, worlds.__file__, str(folder), json.dumps(runs)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


def same(folder: Path, names: list[str], *, shapes: int) -> None:
    """Compare runs: samples to the bit, losses and weights up to the order of sums."""
    one, *others = (Trained(0, folder / name, "") for name in names)
    expected = samples(one)
    assert sorted(expected) == list(range(STEPS * WINDOW))
    assert len({line[-1] for line in expected.values()}) == STEPS * WINDOW  # no noise twice
    assert len({tuple(line[-2]) for line in expected.values()}) == shapes
    weights = f"checkpoints/step-{STEPS}/unet/diffusion_pytorch_model.safetensors"
    for other in others:
        assert samples(other) == expected
        assert sorted(other.metrics()) == list(range(1, STEPS + 1))
        for step, line in one.metrics().items():
            assert other.metrics()[step]["loss"] == pytest.approx(line["loss"], rel=1e-5)
            assert other.metrics()[step]["grad_norm"] == pytest.approx(line["grad_norm"], rel=1e-4)
        ours, theirs = load_file(other.out / weights), load_file(one.out / weights)
        for name, weight in theirs.items():
            torch.testing.assert_close(ours[name], weight, rtol=1e-3, atol=1e-5)
