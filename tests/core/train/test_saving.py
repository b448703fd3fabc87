"""A checkpoint is copied at its step and written while training goes on."""

import errno
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from sdcore.train import checkpoint, loop, memory, saving
from sdcore.train.parts import ModelPart, OptimizerPart


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_written_is_the_state_of_the_copy(
    model: Path, tmp_path: Path, layout: torch.memory_format
) -> None:
    """Written from the live tensors, a checkpoint would mix two steps, and load all the same."""
    unet = UNet2DConditionModel.from_pretrained(model / "unet").to(memory_format=layout)
    weights = list(unet.parameters())
    optimizer = torch.optim.AdamW(weights, lr=0.1, fused=True)

    def update() -> None:
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer.step()

    parts = (ModelPart("unet", unet), OptimizerPart(optimizer))
    for name in ("first", "second"):  # the second fills the memory of the first
        update()
        (tmp_path / name).mkdir()
        unet.save_pretrained(tmp_path / name / "unet")
        torch.save(optimizer.state_dict(), tmp_path / name / "optimizer.pt")
        writes = [part.snapshot(copied=True) for part in parts]
        held = [part.held for part in parts]
        update()
        (tmp_path / "copy" / name).mkdir(parents=True)
        for write in writes:
            write(tmp_path / "copy" / name)
        assert content(tmp_path / "copy" / name) == content(tmp_path / name)
        assert held == [part.held for part in parts]
    assert sum(part.held for part in parts) == pytest.approx(sum(p.size for p in parts), rel=0.02)


def test_training_goes_on_while_a_checkpoint_is_written(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next save, the stop and the end wait for the one on its way."""
    whole = train("--max_train_steps", "4", "--checkpointing_steps", "2", out="whole")
    seal, forward = checkpoint.seal, loop.Loop.forward
    begun, further = threading.Event(), threading.Event()

    def slow(partial: Path, step: int) -> int:
        if step == 2:
            begun.set()
            assert further.wait(30), "training waited for the disk"
            time.sleep(0.2)
        return seal(partial, step)

    def watching(self: Any, micro: int) -> Any:
        if self.step == 3:
            assert begun.wait(30)
            further.set()
        return forward(self, micro)

    monkeypatch.setattr(checkpoint, "seal", slow)
    monkeypatch.setattr(loop.Loop, "forward", watching)
    done = train("--max_train_steps", "4", "--checkpointing_steps", "2")
    assert done.code == 0, done.err
    two, four = done.events("checkpoint")
    assert (two["step"], four["step"]) == (2, 4)
    assert two["stall"] < two["seconds"]
    assert four["stall"] >= 0.9 * four["seconds"]
    for step in done.steps:
        kept, expected = (
            content(done.out / "checkpoints" / step),
            content(whole.out / "checkpoints" / step),
        )
        for name in ("unet/diffusion_pytorch_model.safetensors", "optimizer.pt"):
            assert kept[name] == expected[name]


def test_a_failure_in_the_thread_is_told_and_a_good_one_stays(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error nobody looks at would let a run believe in a checkpoint it has not."""
    write_parts = checkpoint.write_parts

    def broken(partial: Path, contents: Any) -> None:
        if contents.step == 2:
            raise OSError(errno.EIO, "Input/output error")
        write_parts(partial, contents)

    monkeypatch.setattr(checkpoint, "write_parts", broken)
    done = train("--checkpointing_steps", "1")
    assert done.code == 0, done.err
    assert done.steps == ["step-1", "step-3"]
    (warning,) = done.events("warning")
    assert warning["text"].startswith("the checkpoint of step 2 could not be written: [Errno 5]")


def test_an_error_of_training_lets_the_save_on_its_way_end(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest good state is half written when the next step fails."""
    seal, forward = checkpoint.seal, loop.Loop.forward
    failing = threading.Event()

    def slow(partial: Path, step: int) -> int:
        assert failing.wait(30)
        time.sleep(0.2)
        return seal(partial, step)

    def broken(self: Any, micro: int) -> Any:
        if self.step == 2:
            failing.set()
            raise RuntimeError("injected fault")
        return forward(self, micro)

    monkeypatch.setattr(checkpoint, "seal", slow)
    monkeypatch.setattr(loop.Loop, "forward", broken)
    done = train("--checkpointing_steps", "2")
    assert done.code == 1
    assert done.steps == ["step-2"]
    assert done.rank()["checkpoint"] == "checkpoints/step-2"


def test_without_memory_for_a_copy_training_waits_and_says_so(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that does not fit would have the kernel kill the run instead of saving it."""
    monkeypatch.setattr(memory, "available", lambda: saving._RESERVE + 1000)
    done = train("--checkpointing_steps", "1")
    assert done.code == 0, done.err
    (choice,) = (event for event in done.events("choice") if event["what"] == "saving")
    assert choice["chosen"] == "training waits for the disk"
    assert "are free" in choice["because"]
    assert all(event["stall"] >= 0.9 * event["seconds"] for event in done.events("checkpoint"))
    assert done.losses() == train("--checkpointing_steps", "1", out="whole").losses()


def test_a_containers_limit_counts_as_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has 500 GB, the container 8: the machine's figure has the container killed."""
    group = tmp_path / "sys" / "pod" / "box"
    group.mkdir(parents=True)
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    (tmp_path / "cgroup").write_text("0::/pod/box\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_ROOT", tmp_path / "sys")
    assert memory.available() == 8000 * 1024
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("100\n")
    assert memory.available() == 8000 * 1024
    (group.parent / "memory.max").write_text("5000\n")
    (group.parent / "memory.current").write_text("4000\n")
    (group.parent / "memory.stat").write_text("anon 1\ninactive_file 500\n")
    assert memory.available() == 1500
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "nowhere")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "nowhere")
    assert memory.available() is None


def test_old_checkpoints_go_but_never_the_new_one(tmp_path: Path) -> None:
    """A damaged step-9 that a resume passed over has the highest number and pushes out the good."""
    for step in (3, 4, 5, 9):
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}" / "manifest.json").write_text(json.dumps({}))
    checkpoint.rotate(tmp_path, 2, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-4", "step-5", "step-9"]
