"""A full disk pauses the training until there is room; it costs time and nothing else."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdcore.runs.files import LineWriter
from sdcore.train import checkpoint, keeping, pipeline
from support.commands import on_small_disk

TESTS = Path(__file__).parents[2]


class Disk:
    """Takes ``refusals`` writes less than it is asked for, then all."""

    def __init__(self, refusals: int, then: Callable[..., Any]) -> None:
        self.refusals, self.then = refusals, then

    def __call__(self, *arguments: Any) -> Any:
        if self.refusals > 0:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.then(*arguments)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_LOOK", 0.02)
    monkeypatch.setattr(keeping, "_TICK", 0.01)


def test_a_save_and_the_pipeline_wait_for_room(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The save is retried from the copy: the state that is written is that of its step."""
    whole = train("--checkpointing_steps", "1", out="whole")
    seal = Disk(3, checkpoint.seal)
    monkeypatch.setattr(checkpoint, "seal", seal)
    monkeypatch.setattr(pipeline, "_write", Disk(2, pipeline._write))
    done = train("--checkpointing_steps", "1")
    assert done.code == 0, done.err
    assert done.steps == ["step-1", "step-2", "step-3"]
    phases = [event["phase"] for event in done.events("phase")]
    assert phases.count("paused") == 2
    saved, published = (event["text"] for event in done.events("warning"))
    assert "checkpoint of step 1 could not be written" in saved
    assert f"waits for room: free space in {done.out / 'checkpoints'}" in saved
    assert "pipeline could not be written" in published
    assert done.err.count("there is room again") == 2
    for step in done.steps:
        kept = "checkpoints", step, "unet", "diffusion_pytorch_model.safetensors"
        assert done.out.joinpath(*kept).read_bytes() == whole.out.joinpath(*kept).read_bytes()
    assert done.losses() == whole.losses()


def test_lines_that_do_not_fit_wait_and_are_not_lost(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk another program filled to the last byte refuses the line of a step first."""
    flush, full = LineWriter.flush, {"tries": 0}

    def refusing(self: LineWriter) -> None:
        if b'"step":2,' in self._unwritten and full["tries"] < 4:
            full["tries"] += 1
            half = self._unwritten[:9]
            if full["tries"] == 1:  # the page of the file had room for a part of it
                os.write(self._descriptor, half)
                self._unwritten = self._unwritten[9:] + b""
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(self)

    whole = train("--max_train_steps", "4", out="whole")
    monkeypatch.setattr(LineWriter, "flush", refusing)
    done = train("--max_train_steps", "4")
    assert done.code == 0, done.err
    assert full["tries"] == 4
    assert done.losses() == whole.losses()
    assert len((done.out / "metrics.jsonl").read_text().splitlines()) == 4
    assert "paused" in [event["phase"] for event in done.events("phase")]


def test_a_stop_ends_the_pause(train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be saved, so it is a failure: exit 4 would promise that nothing is lost."""
    full = Disk(99, checkpoint.seal)
    monkeypatch.setattr(checkpoint, "seal", full)
    wait = keeping.Keeper._wait_for_room

    def stopping(self: Any, *arguments: Any) -> Any:
        self._job.stop.by = "SIGTERM"
        return wait(self, *arguments)

    monkeypatch.setattr(keeping.Keeper, "_wait_for_room", stopping)
    done = train("--checkpointing_steps", "1")
    assert done.code == 3
    assert "the disk is full, and a stop was asked for" in done.rank()["reason"]
    assert not list((done.out / "checkpoints").iterdir())


# Inside a mount namespace of its own: trains, with the disk filled by somebody else.
_SCENE = """
import json, os, subprocess, sys, time
from pathlib import Path
from support.trained import Trained
out, argv = Path(sys.argv[1]), sys.argv[2:]
trainer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
events, fill, seen = out / "events.jsonl", out / "fill", {}

def last(kind):
    lines = events.read_text().splitlines() if events.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [event for event in found if event["kind"] == kind]

def until(what):
    while not what():
        assert trainer.poll() is None, trainer.stderr.read()
        time.sleep(0.02)

until(lambda: last("checkpoint"))
with fill.open("wb", buffering=0) as file:
    try:
        while True:
            file.write(b"x" * 65536)
    except OSError:
        pass
until(lambda: any(e["phase"] == "paused" for e in last("phase")))
seen["paused"] = last("warning")[-1]["text"]
seen["whole"] = [path.name for path in (out / "checkpoints").iterdir()]
time.sleep(0.5)
fill.unlink()
seen["err"] = trainer.communicate(timeout=60)[1]
seen["code"] = trainer.returncode
seen["steps"] = sorted(path.name for path in (out / "checkpoints").iterdir())
lines = (out / "metrics.jsonl").read_text().splitlines()
seen["lines"] = [json.loads(line)["step"] for line in lines]
# Here, because the mount is gone with this process.
done = Trained(0, out, "")
seen["losses"], seen["bits"] = done.losses(), done.bits(20)
print(json.dumps(seen))
"""


def test_a_disk_filled_by_others_on_a_real_file_system(
    train: Any, flags: list[str], tmp_path: Path
) -> None:
    """What libraries say of a full disk, and how much they leave behind, no fake knows.

    A save written again from memory that training has moved on in would show in the bits.
    """
    long = ["--max_train_steps", "20", "--checkpointing_steps", "2",
            "--checkpoints_total_limit", "1"]  # fmt: skip
    undisturbed = train(*long, out="undisturbed")
    before = on_small_disk(tmp_path / "small", "size=12m")
    out = tmp_path / "small" / "out"
    argv = [sys.executable, "-m", "sdcore.train", *flags, "--output_dir", str(out), *long]
    scene = subprocess.run(
        [*before, sys.executable, "-c", _SCENE, str(out), *argv], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}, check=False,
        timeout=120,
    )  # fmt: skip
    assert scene.returncode == 0, scene.stderr
    seen = json.loads(scene.stdout)
    assert "training waits for room" in seen["paused"]
    assert str(out) in seen["paused"]
    assert any(re.fullmatch(r"step-\d+", name) for name in seen["whole"])
    assert seen["code"] == 0, seen["err"]
    assert "there is room again" in seen["err"]
    assert seen["steps"] == ["step-20"]
    assert seen["lines"] == list(range(1, 21))
    assert seen["losses"] == undisturbed.losses()
    assert seen["bits"] == undisturbed.bits(20)
