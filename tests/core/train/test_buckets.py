"""Sizes by shape: which one a picture gets, in which order they come, and what is cut off."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdcore.data.buckets import Buckets
from sdcore.task.train_spec import TrainSpec
from sdcore.train.framing import frame_of
from sdcore.train.images import cut
from sdcore.train.randomness import BlockOrder, micro_positions


@st.composite
def bucketings(draw: st.DrawFn) -> tuple[Buckets, int, int, int, int]:
    step = draw(st.sampled_from([8, 16, 64]))
    resolution = step * draw(st.integers(2, 16)) + 8 * draw(st.integers(0, step // 8 - 1))
    least = draw(st.integers(8, resolution // step * step))
    most = draw(st.integers(resolution, 4 * resolution))
    return Buckets(resolution, least, most, step), resolution, least, most, step


@given(made=bucketings(), width=st.integers(1, 3000), height=st.integers(1, 3000))
@settings(max_examples=300, deadline=None)
def test_no_picture_is_enlarged_and_every_size_keeps_the_limits(
    made: tuple[Buckets, int, int, int, int], width: int, height: int
) -> None:
    """One size beyond them fits no memory that was measured; blur of enlarging is learnt."""
    buckets, resolution, least, most, step = made
    size = buckets.size_for(width, height)
    if size is None:
        assert min(width, height) < -(-least // step) * step
        return
    assert all(side % step == 0 and least <= side <= most for side in size)
    assert size[0] * size[1] <= resolution**2
    assert size[0] <= width
    assert size[1] <= height
    frame = frame_of(width, height, size, None)
    assert frame.resized[0] <= width
    assert frame.resized[1] <= height
    assert buckets.size_for(height, width) == size[::-1]


@given(made=bucketings(), width=st.integers(1, 9), height=st.integers(1, 9))
def test_a_large_picture_gets_the_size_most_like_it(
    made: tuple[Buckets, int, int, int, int], width: int, height: int
) -> None:
    buckets, *_ = made
    size = buckets.size_for(5000 * width, 5000 * height)
    assert size in buckets.sizes
    wanted = min(abs(np.log(w / h * height / width)) for w, h in buckets.sizes)
    assert abs(np.log(size[0] / size[1] * height / width)) == pytest.approx(wanted, abs=1e-9)


def test_the_sizes_of_512_are_those_other_trainers_use() -> None:
    """Half to twice the resolution in steps of 64, as sd-scripts' defaults make them."""
    spec = TrainSpec(enable_bucket=True)
    found = Buckets.of(spec)
    assert found is not None
    upright = [(256, 1024), (256, 960), (256, 896), (256, 832), (320, 768), (320, 704), (384, 640),
               (448, 576)]  # fmt: skip
    assert found.sizes == (*upright, (512, 512), *(size[::-1] for size in reversed(upright)))
    assert found.size_for(300, 500) == (256, 448)  # its bucket would be 384 x 640
    assert found.size_for(255, 5000) is None
    assert Buckets.of(TrainSpec()) is None


kinds = st.lists(st.integers(1, 23), min_size=1, max_size=6).flatmap(
    lambda sizes: st.permutations([kind for kind, n in enumerate(sizes) for _ in range(n)])
)


@given(seed=st.integers(0, 2**63 - 1), kinds=kinds, block=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_each_size_shows_all_its_images_before_one_comes_again(
    seed: int, kinds: list[int], block: int
) -> None:
    """A remainder dropped at each epoch's end leaves some images out for good, unseen by anyone."""
    order = BlockOrder(seed, kinds, block)
    many = Counter(kinds)
    for epochs in (1, 2, 7):
        blocks = [epochs * n // block for n in many.values()]
        rows = [order.row(position) for position in range(sum(blocks) * block)]
        for start in range(0, len(rows), block):
            assert len({kinds[row] for row in rows[start : start + block]}) == 1
        shown = Counter(rows)
        for kind, n in many.items():
            total = epochs * n // block * block
            assert sum(shown[row] for row in range(len(kinds)) if kinds[row] == kind) == total
            times = {shown[row] for row in range(len(kinds)) if kinds[row] == kind}
            assert times <= {total // n, -(-total // n)}
            assert max(times) <= epochs


@given(
    seed=st.integers(0, 1000), kinds=kinds, batch=st.integers(1, 4),
    world=st.sampled_from([1, 2, 4]), start=st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_pass_shows_one_size_and_any_position_can_be_the_first(
    seed: int, kinds: list[int], batch: int, world: int, start: int
) -> None:
    """A resume asks for position 10^6 first; one that walked there would not have come so far."""
    order, again = BlockOrder(seed, kinds, batch), BlockOrder(seed, kinds, batch)
    window = 4 * batch
    first = start * window
    for micro in range(4 // world):
        for rank in range(world):
            positions = micro_positions(first, micro, rank, world, batch)
            assert len({kinds[order.row(position)] for position in positions}) == 1
    before = range(max(0, first - 3 * window), first + window)
    walked = {position: again.row(position) for position in before}
    assert [walked[p] for p in range(first, first + window)] == [
        BlockOrder(seed, kinds, batch).row(p) for p in range(first, first + window)
    ]
    largest = order.largest(first)
    assert first <= largest
    assert {kinds[order.row(largest + i)] for i in range(batch)} == {0}


def test_the_blocks_of_a_seed_are_pinned() -> None:
    """Another order after an upgrade would show images twice and others never, unseen."""
    order = BlockOrder(1, [0] * 5 + [1] * 3, 2)
    assert [order.row(position) for position in range(16)] == [
        0,
        4,
        5,
        6,
        1,
        2,
        0,
        1,
        7,
        6,
        2,
        4,
        7,
        5,
        3,
        3,
    ]


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(8, 90), height=st.integers(8, 90), wide=st.integers(1, 8),
    high=st.integers(1, 8), u=st.floats(0, 1, exclude_max=True),
    v=st.floats(0, 1, exclude_max=True), flip=st.booleans(), centred=st.booleans(),
)  # fmt: skip
def test_the_frame_is_where_the_shown_picture_lies(
    width: int, height: int, wide: int, high: int, u: float, v: float, flip: bool, centred: bool
) -> None:
    """SDXL told of another place than it sees learns to cut heads off."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image, size, crop = Image.fromarray(pixels), (8 * wide, 8 * high), None if centred else (u, v)
    shown = cut(image, size, "bilinear", crop=crop, flip=flip)
    frame = frame_of(width, height, size, crop)
    frame = frame.mirrored() if flip else frame
    whole = image.resize(frame.resized, Image.Resampling.BILINEAR)
    whole = whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else whole
    left, top = frame.corner
    wanted = np.asarray(whole)[top : top + size[1], left : left + size[0]]
    got = ((shown + 1) * 127.5).round().numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(got, wanted)
    assert (frame.original, frame.size) == ((width, height), size)


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), side=st.integers(1, 2000))
def test_a_square_is_framed_as_torchvision_does(width: int, height: int, side: int) -> None:
    """Resize: the long side is ``int(R * long / short)``; CenterCrop: ``round(spare / 2)``."""
    frame = frame_of(width, height, (side, side), None)
    long = int(side * max(width, height) / min(width, height))
    assert frame.resized == ((side, long) if width <= height else (long, side))
    spare = (long - side) / 2
    assert frame.corner == ((0, round(spare)) if width <= height else (round(spare), 0))
    assert frame.exact == (long == side)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"min_bucket_reso": 128}, "min_bucket_reso is a setting of buckets"),
        ({"enable_bucket": True, "min_bucket_reso": 640}, "not between min_bucket_reso 640 and"),
        ({"enable_bucket": True, "max_bucket_reso": 448}, "and max_bucket_reso 448: change one"),
        ({"enable_bucket": True, "bucket_reso_steps": 1024}, "is a square of 0 px"),
        ({"enable_bucket": True, "torch_compile": True}, "torch_compile with enable_bucket"),
    ],
)
def test_buckets_that_cannot_be_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainSpec(**settings)
