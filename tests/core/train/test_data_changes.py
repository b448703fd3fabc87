"""Data that changes under a training is named, whether between two starts or in the middle."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sdcore.data import DataIndex
from sdcore.train import loop
from sdcore.train.checkpoint import digest
from support.tiny_model import make_dataset


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "own", 10)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def test_a_resume_names_the_files_that_changed(train: Any, own: Path) -> None:
    """A fingerprint says that something changed, and leaves 10,000 files to search."""
    train("--train_data_dir", str(own))
    lines = lines_of(own)
    Image.new("RGB", (48, 48)).save(own / "0001.png")
    lines[2]["text"] = "another caption"
    (own / "0003.png").unlink()
    Image.new("RGB", (32, 32)).save(own / "new.png")
    lines[3] = {"file_name": "new.png", "text": "a new one"}
    (own / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = train("--train_data_dir", str(own), "--resume_from_checkpoint", "latest")
    assert done.code == 3
    for words in ("changed: 0001.png", "with other captions: 0002.png", "added: new.png",
                  "lost: 0003.png"):  # fmt: skip
        assert words in done.err


def test_many_lost_files_are_counted_and_the_first_are_named(train: Any, own: Path) -> None:
    train("--train_data_dir", str(own))
    lines = lines_of(own)[6:]
    (own / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = train("--train_data_dir", str(own), "--resume_from_checkpoint", "latest")
    assert "lost: 0000.png, 0001.png, 0002.png and 3 more" in done.err


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows whose image file is read."""
    found: list[int] = []
    read = DataIndex.read

    def counted(self: DataIndex, i: int) -> bytes:
        found.append(i)
        return read(self, i)

    monkeypatch.setattr(DataIndex, "read", counted)
    return found


@pytest.mark.parametrize("crop", ["--center_crop", "--no-center_crop"])
def test_images_replaced_by_others_of_as_many_bytes_are_named(
    train: Any, tmp_path: Path, reads: list[int], crop: str
) -> None:
    """BMPs of one size, or masks drawn anew: told as exact, the rest would be another training."""
    folder = tmp_path / "bitmaps"
    folder.mkdir()
    for i in range(6):
        Image.new("RGB", (44, 36), (40 * i, 0, 0)).save(folder / f"{i}.bmp")
    lines = [{"file_name": f"{i}.bmp", "text": f"a {i}"} for i in range(6)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    flags = ["--train_data_dir", str(folder), crop]
    first = train(*flags)
    assert first.code == 0, first.err
    reads.clear()
    same = train(*flags, "--resume_from_checkpoint", "latest")
    assert (same.code, reads) == (0, []), "the hashes are in the cache"
    before = (folder / "2.bmp").stat().st_size
    for i in (2, 5):
        Image.new("RGB", (44, 36), (0, 40 * i, 9)).save(folder / f"{i}.bmp")
    assert (folder / "2.bmp").stat().st_size == before
    done = train(*flags, "--resume_from_checkpoint", "latest")
    assert done.code == 3
    assert "the data is not what step-3 was trained on" in done.err
    assert "cause:  changed: 2.bmp, 5.bmp\n" in done.err
    assert sorted(set(reads)) == [2, 5]
    make_older(first.out / "checkpoints/step-3")
    older = train(*flags, "--resume_from_checkpoint", "latest")
    assert older.code == 0, older.err


def make_older(checkpoint: Path) -> None:
    """Rewrite a checkpoint as one of before there were hashes of images."""
    path, manifest = checkpoint / "data.json.gz", checkpoint / "manifest.json"
    rows = [entry[:3] for entry in json.loads(gzip.decompress(path.read_bytes()))]
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    record = json.loads(manifest.read_bytes())
    record["files"][path.name] = {"size": path.stat().st_size, "sha256": digest(path)}
    manifest.write_text(json.dumps(record))


@pytest.fixture
def spoiled(own: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Flags of a training that decodes at every step, and in whose second step an image rots."""
    forward = loop.Loop.forward

    def rotting(self: Any, micro: int) -> Any:
        if self.step == 1:
            (own / "0004.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(900))
        return forward(self, micro)

    monkeypatch.setattr(loop.Loop, "forward", rotting)
    return ["--train_data_dir", str(own), "--no-cache_latents", "--max_train_steps", "6"]


def test_an_image_that_rots_during_training_is_replaced_and_counted(
    train: Any, spoiled: list[str]
) -> None:
    """Surveyed as good, it would end the run at step 9,000 although bad ones are to be skipped."""
    done = train(*spoiled, "--on_bad_image", "skip")
    assert done.code == 0, done.err
    assert len(done.losses()) == 6
    (warning,) = done.events("warning")
    assert "0004.png went bad during training" in warning["text"]
    assert "1 image left out by now" in warning["text"]


def test_an_image_that_rots_stops_the_run_where_bad_ones_stop_it(
    train: Any, spoiled: list[str]
) -> None:
    done = train(*spoiled, "--checkpointing_steps", "1")
    assert done.code == 3
    assert "the image 0004.png cannot be used" in done.err
    assert done.rank()["checkpoint"] is not None


@pytest.mark.parametrize(("kept", "code"), [(9, 0), (0, 3)])
def test_a_file_that_is_deleted_during_training_is_a_bad_image(
    train: Any, own: Path, monkeypatch: pytest.MonkeyPatch, kept: int, code: int
) -> None:
    """One deleted file ended a night's run; a lost mount must, and not melt the data away."""
    forward = loop.Loop.forward

    def deleting(self: Any, micro: int) -> Any:
        if self.step == 1:
            for i in range(kept, 10):
                (own / f"{i:04d}.png").unlink(missing_ok=True)
        return forward(self, micro)

    monkeypatch.setattr(loop.Loop, "forward", deleting)
    done = train("--train_data_dir", str(own), "--no-cache_latents", "--max_train_steps", "6",
                 "--on_bad_image", "skip")  # fmt: skip
    assert done.code == code, done.err
    warned = [event["text"] for event in done.events("warning")]
    if kept:
        (text,) = warned
        assert "0009.png went bad during training (" in text
        assert done.metrics()[6]["bad_images"] == 1
    else:
        assert not warned
        assert "check that the data folder is still there" in done.err
