"""Trainings whose images have several shapes, from the flags to the last bit."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from sdcore.data import BadImageError
from sdcore.runs.events import BucketsFilled
from sdcore.train import ahead, batches, loop
from sdcore.train.latefaults import Found, LateFaults
from sdcore.train.latents import Draw
from support.tiny_model import make_shapes
from support.trained import Trained

# Wide, tall, square, square but small: with sizes of 16 to 64 px in steps of 8, 32 x 32 in pixels.
SHAPES = [(90, 45), (91, 47), (45, 90), (64, 64), (24, 25), (66, 66), (89, 44), (44, 91), (65, 65)]
BUCKETS = {(40, 24): 3, (24, 40): 2, (32, 32): 3, (24, 24): 1}
FLAGS = [
    "--enable_bucket", "--bucket_reso_steps", "8", "--max_train_steps", "8",
    "--gradient_accumulation_steps", "2", "--random_flip", "--learning_rate", "0.01", "--use_ema",
    "--checkpointing_steps", "3",
]  # fmt: skip
Train = Callable[..., Trained]


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Write an image of noise for each shape."""
    return make_shapes(tmp_path / "shapes", SHAPES)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], tuple[int, ...]]]:
    """Collect the positions of each forward pass and the latent rows and columns it sees.

    Passes of the training, and those that only try or compile.
    """
    passes: list[tuple[list[int], tuple[int, ...]]] = []

    def watching(inner: Any) -> Any:
        def made(self: Any, positions: Any) -> Any:
            batch = inner(self, positions)
            passes.append((list(positions), tuple(batch.moments.shape[2:])))
            assert batch.noise.shape == batch.posterior.shape
            return batch

        return made

    monkeypatch.setattr(ahead.Ahead, "take", watching(ahead.Ahead.take))
    monkeypatch.setattr(batches.Batches, "at", watching(batches.Batches.at))
    return passes


@pytest.mark.parametrize("how", ["--center_crop", "--no-center_crop"])
def test_a_run_of_several_shapes_goes_on_bit_for_bit(
    train: Train, shapes: Path, seen: list[Any], how: str
) -> None:
    """Cached and, with random crops, live; the cut falls in an epoch and in the carried rest."""
    flags = [*FLAGS, "--train_data_dir", str(shapes), how]
    whole = train(*flags, out="whole")
    assert whole.code == 0, whole.err
    assert [positions for positions, _ in seen] == [[2 * i, 2 * i + 1] for i in range(16)]
    assert {(2 * h, 2 * w) for _, (h, w) in seen} == {(h, w) for w, h in BUCKETS}
    for stop in ("3", "6", "8"):
        cut = train(*flags, "--max_train_steps", stop, "--resume_from_checkpoint", "latest")
        assert cut.code == 0, cut.err
    assert "resumed from checkpoints/step-6, bit for bit" in cut.err
    assert len(whole.losses()) == 8
    assert cut.losses() == whole.losses()
    assert cut.bits(8) == whole.bits(8)


def test_the_buckets_are_told_and_a_small_image_is_not_lost_in_silence(
    train: Train, shapes: Path
) -> None:
    Image.new("RGB", (15, 200)).save(shapes / "8.png")
    flags = [*FLAGS, "--train_data_dir", str(shapes), "--max_train_steps", "1"]
    stopped = train(*flags, out="stopped")
    assert stopped.code == 3
    assert "the image 8.png cannot be used" in stopped.err
    assert "no bucket is that small (min_bucket_reso is 16)" in stopped.err
    done = train(*flags, "--on_bad_image", "skip")
    assert done.code == 0, done.err
    (event,) = done.events("buckets")
    told = BucketsFilled.model_validate(event)
    assert {(b.width, b.height): b.images for b in told.sizes} == {**BUCKETS, (32, 32): 2}
    assert told.smaller == 1
    assert "images in 4 buckets: 40x24: 3, " in done.err
    assert "1 image too small for a regular bucket" in done.err
    assert "1 bucket with fewer images than the 2 of a pass (1 in all)" in done.err
    assert "1 image cannot be used and left out: 8.png" in done.err


def test_held_out_images_are_measured_in_passes_of_one_size(train: Train, shapes: Path) -> None:
    """And the figure is that of images one by one."""
    flags = [*FLAGS, "--train_data_dir", str(shapes), "--max_train_steps", "2", "--center_crop",
             "--validation_split", "4", "--validation_steps", "2", "--seed", "3"]  # fmt: skip
    twos = train(*flags, out="twos")
    assert twos.code == 0, twos.err
    ones = train(*flags, "--train_batch_size", "1", "--gradient_accumulation_steps", "4")
    base = [event["loss"] for event in (*twos.events("validation"), *ones.events("validation"))]
    assert base[0] == pytest.approx(base[2], rel=1e-6)  # step 0: the same weights


def test_an_image_that_rots_is_replaced_by_one_of_its_size(
    train: Train, shapes: Path, monkeypatch: pytest.MonkeyPatch, seen: list[Any]
) -> None:
    """Also where it was the last of its size: the pass then moves as a whole."""
    forward = loop.Loop.forward

    def rotting(self: Any, micro: int) -> Any:
        if self.step == 1:
            for name in ("4.png", "2.png", "0.png"):
                (shapes / name).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(900))
        return forward(self, micro)

    monkeypatch.setattr(loop.Loop, "forward", rotting)
    done = train(*FLAGS, "--train_data_dir", str(shapes), "--no-cache_latents", "--max_train_steps",
                 "12", "--on_bad_image", "skip")  # fmt: skip
    assert done.code == 0, done.err
    assert len(done.losses()) == 12
    warned = " ".join(event["text"] for event in done.events("warning"))
    assert all(f"{name} went bad" in warned for name in ("0.png", "2.png", "4.png"))
    after = Counter((2 * h, 2 * w) for _, (h, w) in seen[-8:])
    assert (24, 24) not in after


def test_what_takes_a_bad_images_place_is_of_its_kind() -> None:
    """Held-out images that are trained on measure nothing any more."""
    kinds = {0: (False, (8, 8)), 1: (True, (8, 8)), 2: (False, (16, 8)), 4: (False, (8, 8)),
             5: (True, (16, 8)), 7: (False, (16, 8))}  # fmt: skip
    faults = LateFaults(True, list(kinds), kinds.__getitem__)
    shown = [Draw(9, row, 0, flip=False, crop=(0.0, 0.0)) for row in (0, 4, 1, 7)]

    def rotted(*rows: int) -> list[int]:
        for row in rows:
            draw = replace(shown[0], row=row)
            error = BadImageError(f"{row}.png", "rotted")
            faults.take([faults.judge(error, [draw], [f"{row}.png"], faults.bad)])
        return [draw.row for draw in faults.around(shown, lambda draw, row: draw, faults.bad)]

    assert rotted(4) == [0, 0, 1, 7]
    assert rotted(1) == [0, 0, 5, 7]
    assert rotted(0) == [2, 7, 5, 7]  # both in one pass: of one size
    with pytest.raises(BadImageError):
        rotted(5)
    assert [one.name for one in faults.fresh] == ["4.png", "1.png", "0.png"]
    # Another process found one of these and one more: each is told once, and none stays good.
    theirs = [Found(0, "0.png", "rotted"), Found(2, "2.png", "rotted")]
    told = faults.share(lambda ours: [ours, theirs])
    assert [(one.name, number) for one, number in told] == [
        ("4.png", 1), ("1.png", 2), ("0.png", 3), ("2.png", 4),
    ]  # fmt: skip
    assert (faults.bad, faults.fresh, faults.count) == (frozenset({0, 1, 2, 4}), [], 4)
    with pytest.raises(BadImageError):
        faults.share(lambda ours: [ours, [Found(7, "7.png", "rotted")]])


def test_a_resume_that_would_show_other_images_is_refused(train: Train, shapes: Path) -> None:
    """Another order in the middle of an epoch shows images twice and others not at all."""
    data = ["--train_data_dir", str(shapes), "--center_crop"]
    train(*FLAGS, *data, "--max_train_steps", "3")
    again = [*FLAGS, *data, "--resume_from_checkpoint", "latest"]
    for change, words in [
        (["--max_bucket_reso", "32"], "the sizes of the images"),
        (["--train_batch_size", "4"], "passes of 4 would reach over the end of a block"),
        (["--no-enable_bucket", "--bucket_reso_steps", "64"], "enable_bucket False"),
    ]:
        refused = train(*again, *change)
        assert refused.code in {2, 3}, refused.err
        assert words in refused.err
    smaller = train(*again, "--train_batch_size", "1", "--gradient_accumulation_steps", "4",
                    "--max_train_steps", "4")  # fmt: skip
    whole = train(*FLAGS, *data, "--max_train_steps", "4", out="whole")
    assert smaller.metrics()[4]["loss"] == pytest.approx(whole.metrics()[4]["loss"], rel=1e-5)


def test_the_largest_images_stand_for_all_when_sizes_of_passes_are_tried(
    train: Train, shapes: Path, monkeypatch: pytest.MonkeyPatch, seen: list[Any]
) -> None:
    """A size of pass that fits the small ones ends the run at the first large one."""
    from sdcore.train import probing  # noqa: PLC0415

    monkeypatch.setattr(probing, "_reason_against", lambda loop: None)
    monkeypatch.setattr(probing, "_pass", tried := _tried(probing._pass))
    done = train(*FLAGS, "--train_data_dir", str(shapes), "--auto_batch_size", "--center_crop",
                 "--gradient_accumulation_steps", "4", "--max_train_steps", "5")  # fmt: skip
    assert done.code == 0, done.err
    assert set(tried.sizes) <= {2, 4, 8}
    assert {(h, w) for positions, (h, w) in seen[: len(tried.sizes)]} == {(16, 16)}
    assert torch.isfinite(torch.tensor([line["loss"] for line in done.metrics().values()])).all()


class _tried:  # noqa: N801
    def __init__(self, inner: Callable[[Any, int], float]) -> None:
        self.inner, self.sizes = inner, list[int]()

    def __call__(self, some: Any, batch: int) -> float:
        self.sizes.append(batch)
        return self.inner(some, batch)
