"""Checkpoints are whole or absent, checked before use, and never the reason a run is lost."""

import errno
import json
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from sdcore.runs.files import write_json
from sdcore.train import checkpoint, finding, loop, pipeline
from support.tiny_model import make_dataset


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_passed_over_and_named(train: Any) -> None:
    """A flipped bit in safetensors loads without complaint, and "latest" would pick it."""
    whole = train("--max_train_steps", "5", out="whole")
    first = train("--max_train_steps", "4", "--checkpointing_steps", "1")
    flip_a_bit(first.out / "checkpoints/step-4/unet/diffusion_pytorch_model.safetensors")
    optimizer = first.out / "checkpoints/step-3/optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    resumed = train("--max_train_steps", "5", "--resume_from_checkpoint", "latest")
    assert resumed.code == 0, resumed.err
    (event,) = resumed.events("resumed")
    assert (event["step"], event["exact"]) == (2, True)
    four, three = event["passed_over"]
    assert four.startswith("step-4: unet/diffusion_pytorch_model.safetensors has another content")
    assert three.startswith("step-3: optimizer.pt has ")
    assert resumed.losses() == whole.losses()


def test_the_files_of_a_checkpoint_are_hashed_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after another, 14 GB take much of the 30 s that torchrun leaves between its signals."""
    folder = tmp_path / "step-1"
    for name in ("unet/weights", "unet_ema/weights", "optimizer.pt", "trainer.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 1000)
    alone, together, digest = threading.Lock(), threading.Event(), checkpoint.digest

    def meeting(path: Path) -> str:
        if not alone.acquire(blocking=False):
            together.set()
        assert together.wait(20), "a file waited for another"
        return digest(path)

    monkeypatch.setattr(checkpoint, "digest", meeting)
    monkeypatch.setattr(finding, "digest", meeting)
    checkpoint.seal(folder, 1)
    assert together.is_set()
    alone.release()
    together.clear()
    assert finding.fault_of(folder) is None
    flip_a_bit(folder / "unet_ema/weights")
    flip_a_bit(folder / "unet/weights")
    assert finding.fault_of(folder) == "unet/weights has another content than was written"


def test_only_the_newest_are_kept_and_none_goes_before_a_new_one_is_whole(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference deletes the only good one first; a save that fails then loses the run."""
    seal = checkpoint.seal

    def broken(partial: Path, step: int) -> int:
        if step == 3:
            raise OSError(errno.EIO, "Input/output error")
        return seal(partial, step)

    monkeypatch.setattr(checkpoint, "seal", broken)
    kept = {}
    rotate = checkpoint.rotate

    def watching(parent: Path, keep: int | None, newest: int) -> None:
        kept[len(kept)] = sorted(path.name for path in parent.iterdir())
        rotate(parent, keep, newest)

    monkeypatch.setattr(checkpoint, "rotate", watching)
    done = train("--max_train_steps", "4", "--checkpointing_steps", "1",
                 "--checkpoints_total_limit", "1")  # fmt: skip
    assert done.code == 0, done.err
    assert list(kept.values()) == [["step-1"], ["step-1", "step-2"], ["step-2", "step-4"]]
    assert done.steps == ["step-4"]
    (warning,) = done.events("warning")
    assert "step 3 could not be written" in warning["text"]
    assert "training goes on" in warning["text"]


def test_no_space_for_one_checkpoint_is_said_before_training(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "free_bytes", lambda folder: 1000)
    done = train()
    assert done.code == 3
    assert "1e+03 B" not in done.err
    assert "no space for a checkpoint" in done.err
    assert not done.metrics() if (done.out / "metrics.jsonl").exists() else True


@pytest.mark.parametrize("old", [torch.contiguous_format, torch.channels_last])
def test_moments_of_another_memory_layout_meet_their_own_weights(
    tmp_path: Path, old: torch.memory_format
) -> None:
    """A GPU trains channels-last, a CPU does not, and the fused update walks raw memory."""

    def trained(layout: torch.memory_format) -> tuple[torch.nn.Parameter, torch.optim.AdamW]:
        start = torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=layout)
        weight = torch.nn.Parameter(start)
        return weight, torch.optim.AdamW([weight], lr=0.1, fused=True)

    def update(weight: torch.nn.Parameter, optimizer: torch.optim.AdamW) -> None:
        weight.grad = (weight.detach() - 3) ** 2
        optimizer.step()

    weight, optimizer = trained(old)
    update(weight, optimizer)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    both = (torch.contiguous_format, torch.channels_last)
    (other,) = (layout for layout in both if layout != old)
    resumed, fresh = trained(other)
    resumed.data.copy_(weight.data)
    finding.load_optimizer(tmp_path, fresh)
    update(weight, optimizer)
    update(resumed, fresh)
    assert torch.equal(weight, resumed)


def test_a_resume_takes_a_path_from_the_working_folder(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train()
    monkeypatch.chdir(tmp_path)
    done = train("--resume_from_checkpoint", "out/checkpoints/step-3", out="other")
    assert done.code == 0, done.err


def test_the_pipeline_is_written_into_a_mounted_folder(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a mount point is another disk, from which nothing can be renamed into it."""
    rename = Path.rename

    def on_one_disk(self: Path, target: Path) -> Path:
        if self.is_relative_to(tmp_path / "out") != target.is_relative_to(tmp_path / "out"):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", on_one_disk)
    done = train()
    assert done.code == 0, done.err
    assert (done.out / "unet").is_dir()
    assert not list(tmp_path.rglob(".*.partial"))


def test_a_broken_disk_at_the_end_says_that_the_weights_are_safe(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pipeline, "_write", broken)
    done = train()
    assert done.code == 3
    assert "Input/output error" in done.err
    assert "the last checkpoint holds the trained weights" in done.err
    assert done.rank()["checkpoint"] == "checkpoints/step-3"


def test_an_index_cannot_lead_out_of_the_model_folder(
    train: Any, model: Path, tmp_path: Path
) -> None:
    """A downloaded model_index.json names the folders that are copied into the pipeline."""
    copy = shutil.copytree(model, tmp_path / "models" / "tiny")
    (tmp_path / "models" / "secret").mkdir()
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps({**index, "../secret": ["a", "B"]}))
    done = train("--pretrained_model_name_or_path", str(copy))
    assert done.code == 0, done.err
    assert not list(tmp_path.glob("**/out/**/secret")) + list(tmp_path.glob("secret"))
    assert "secret" not in (done.out / "model_index.json").read_text()


def test_a_stop_that_cannot_save_is_a_failure_not_a_stop(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 4 promises that nothing is lost."""
    forward = loop.Loop.forward

    def stopping(self: Any, micro: int) -> Any:
        self.job.stop.by = "SIGTERM"
        monkeypatch.setattr(checkpoint, "free_bytes", lambda folder: 1000)
        return forward(self, micro)

    monkeypatch.setattr(loop.Loop, "forward", stopping)
    done = train("--max_train_steps", "9")
    assert done.code == 3
    assert done.rank()["outcome"] == "failed"


def test_resuming_a_finished_run_trains_no_extra_step(train: Any) -> None:
    """The reference trains one step more; the pipeline must be written again, though."""
    first = train()
    (first.out / "model_index.json").unlink()
    before = first.losses()
    again = train("--resume_from_checkpoint", "latest")
    assert again.code == 0, again.err
    assert again.losses() == before
    assert (again.out / "model_index.json").is_file()
    assert again.steps == ["step-3"]


def test_a_longer_run_goes_on_from_the_end(train: Any) -> None:
    train()
    longer = train("--max_train_steps", "5", "--resume_from_checkpoint", "step-3")
    assert longer.losses() == train("--max_train_steps", "5", out="whole").losses()


def test_changed_data_is_refused_by_name(train: Any, tmp_path: Path) -> None:
    """The order of the data follows from its rows: another set would silently mix epochs."""
    train()
    other = make_dataset(tmp_path / "other", 9)
    done = train("--train_data_dir", str(other), "--resume_from_checkpoint", "latest")
    assert done.code == 3
    assert "fingerprint" in done.err
    assert "with 9 images" in done.err


def test_a_fresh_start_does_not_mix_with_old_checkpoints(train: Any) -> None:
    """The new run's "latest" would be the old run's step 3."""
    train()
    done = train()
    assert done.code == 3
    assert "--resume_from_checkpoint latest" in done.err


def test_latest_without_any_checkpoint_starts_quietly(train: Any) -> None:
    done = train("--resume_from_checkpoint", "latest", "--max_train_steps", "1")
    assert done.code == 0
    assert not done.events("warning")


def test_what_breaks_exactness_is_said(train: Any) -> None:
    """The seed of the checkpoint rules; another learning rate is allowed and named."""
    train()
    done = train("--resume_from_checkpoint", "latest", "--max_train_steps", "4", "--seed", "2",
                 "--learning_rate", "0.5")  # fmt: skip
    assert done.code == 0, done.err
    assert done.events("resumed")[0]["exact"] is False
    text = " ".join(event["text"] for event in done.events("warning"))
    assert "seed 2 has no effect" in text
    assert "learning_rate 0.0001 -> 0.5" in text


def test_a_seed_nobody_chose_is_kept_over_a_resume(train: Any, flags: list[str]) -> None:
    del flags[flags.index("--seed") : flags.index("--seed") + 2]
    train()
    done = train("--resume_from_checkpoint", "latest", "--max_train_steps", "4")
    plans = done.events("plan")
    assert plans[0]["seed"] == plans[1]["seed"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("pwned"),))


def test_a_checkpoint_cannot_run_code(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """optimizer.pt is a pickle; with a fitting manifest it validates."""
    monkeypatch.chdir(tmp_path)
    folder = train().out / "checkpoints/step-3"
    (folder / "optimizer.pt").write_bytes(pickle.dumps(Evil()))
    checkpoint.seal(folder, 3)
    assert finding.fault_of(folder) is not None  # the old manifest is listed, too
    (folder / "manifest.json").unlink()
    checkpoint.seal(folder, 3)
    assert finding.fault_of(folder) is None
    assert train("--resume_from_checkpoint", "latest", "--max_train_steps", "4").code == 1
    assert not Path("pwned").exists()


def test_a_manifest_cannot_point_outside(train: Any) -> None:
    folder = train("--max_train_steps", "1").out / "checkpoints/step-1"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../../metrics.jsonl"] = {"size": 1, "sha256": ""}
    write_json(folder / "manifest.json", manifest)
    assert "names '../../metrics.jsonl'" in str(finding.fault_of(folder))
