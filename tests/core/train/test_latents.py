"""Moments: the same cached or live, on one rank or several, and computed only once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from sdcore.data import DataIndex, decode_image, open_data
from sdcore.errors import ExitCode, NotReadyError, SdError
from sdcore.task.train_spec import TrainSpec
from sdcore.train import records
from sdcore.train.images import cut
from sdcore.train.latents import Draw, LatentSource, build_latents
from support.tiny_latents import CPU, SIDE, Counted, build, draw, tiny_vae, write_images


def direct(index: DataIndex, one: Draw, crop: tuple[float, float] | None) -> Tensor:
    """Return the moments as the definition has them, one image at a time."""
    image = decode_image(index.read(one.row), "a")
    pixels = cut(image, (SIDE, SIDE), "lanczos", crop=crop, flip=one.flip)
    with torch.no_grad():
        moments: Tensor = tiny_vae().eval().encode(pixels[None]).latent_dist.parameters
    return moments


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> DataIndex:
    sizes = [(20, 30), (16, 16), (40, 24), (18, 17), (64, 16), (16, 33), (30, 30)]
    return open_data(str(write_images(tmp_path_factory.mktemp("data"), sizes)))


def test_cached_moments_are_those_of_the_image_and_its_mirror(
    tmp_path: Path, index: DataIndex
) -> None:
    """A cache that mixes up rows or mirrors trains on wrong pairs without any sign."""
    source = build(index, tmp_path, random_flip=True)
    assert source.cached
    assert list(source.rows) == list(range(7))
    draws = [draw(3), draw(0, flip=True), draw(3, flip=True), draw(6)]
    got = source.moments(draws)
    assert got.shape == (4, 8, SIDE // 2, SIDE // 2)
    assert got.dtype == torch.float32
    for one, moments in zip(draws, got, strict=True):
        torch.testing.assert_close(moments[None], direct(index, one, None), rtol=1e-4, atol=1e-5)


def test_a_second_start_encodes_nothing_and_gives_the_same_bits(
    tmp_path: Path, index: DataIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resume must be exact: its latents are those on the disk, not new ones."""
    vae = tiny_vae()
    counted = Counted(monkeypatch, vae)
    first = build(index, tmp_path, vae).moments([draw(i) for i in range(7)])
    assert counted.images == 7
    second = build(index, tmp_path, vae).moments([draw(i) for i in range(7)])
    assert counted.images == 7
    assert torch.equal(first, second)
    build(index, tmp_path, vae, random_flip=True)  # only the mirrors are new
    assert counted.images == 14


def test_a_large_set_is_read_from_the_map_with_the_same_bits(
    tmp_path: Path, index: DataIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = [draw(5), draw(0), draw(5)]
    in_memory = build(index, tmp_path).moments(draws)
    monkeypatch.setattr(records, "IN_MEMORY", 0)
    assert torch.equal(build(index, tmp_path).moments(draws), in_memory)


def test_only_content_and_settings_decide_what_is_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moved folder costs nothing; a changed image, VAE or size is never served stale."""
    vae = tiny_vae()
    counted = Counted(monkeypatch, vae)
    root = write_images(tmp_path / "data", [(20, 20), (24, 20)])
    before = build(open_data(str(root)), tmp_path / "c", vae).moments([draw(0)])
    moved = root.rename(tmp_path / "elsewhere")
    build(open_data(str(moved)), tmp_path / "c", vae)
    assert counted.images == 2
    (moved / "0.png").write_bytes((moved / "1.png").read_bytes())
    after = build(open_data(str(moved)), tmp_path / "c", vae).moments([draw(0)])
    assert counted.images == 2  # its new content is known from row 1
    assert not torch.equal(before, after)
    build(open_data(str(moved)), tmp_path / "c", vae, resolution=24)
    build(open_data(str(moved)), tmp_path / "c", vae, image_interpolation_mode="box")
    assert counted.images == 4  # one content, two settings
    other = build(open_data(str(moved)), tmp_path / "c", tiny_vae(seed=1)).moments([draw(0)])
    assert not torch.equal(other, after)


def test_two_ranks_share_the_work_and_see_the_same(
    tmp_path: Path, index: DataIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet = threading.Barrier(2, timeout=60)
    vaes = [tiny_vae(), tiny_vae()]
    counts = [Counted(monkeypatch, vae) for vae in vaes]

    def one(rank: int) -> LatentSource:
        return build(
            index,
            tmp_path,
            vaes[rank],
            rank=rank,
            world_size=2,
            barrier=lambda: (meet.wait(), None)[1],
        )

    with ThreadPoolExecutor(2) as pool:
        sources = list(pool.map(one, range(2)))
    assert [counted.images for counted in counts] == [4, 3]
    draws = [draw(i) for i in range(7)]
    assert torch.equal(sources[0].moments(draws), sources[1].moments(draws))


def test_ranks_without_a_common_disk_each_do_what_they_miss(
    tmp_path: Path, index: DataIndex
) -> None:
    """On two hosts the other's packs never appear; training must start all the same."""
    source = build(index, tmp_path, rank=1, world_size=2)
    assert list(source.rows) == list(range(7))
    one = draw(0)
    torch.testing.assert_close(
        source.moments([one]), direct(index, one, None), rtol=1e-4, atol=1e-5
    )


def test_a_build_cut_short_goes_on_where_it_was(tmp_path: Path, index: DataIndex) -> None:
    vae = tiny_vae()
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch, vae)
        build(index, tmp_path, vae)
    (pack,) = (tmp_path / "latents").rglob("*.bin")
    with pack.open("r+b") as file:
        file.truncate(pack.stat().st_size // 2)  # 3.5 of 7
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch, vae)
        source = build(index, tmp_path, vae)
    assert counted.images == 4
    for row in range(7):
        torch.testing.assert_close(
            source.moments([draw(row)]), direct(index, draw(row), None), rtol=1e-4, atol=1e-5
        )


def test_random_crops_of_squares_are_cached_as_they_have_no_choice(tmp_path: Path) -> None:
    data = open_data(str(write_images(tmp_path / "d", [(20, 20), (64, 65)])))
    assert build(data, tmp_path / "c", center_crop=False).cached


def test_random_crops_are_taken_where_the_draw_says(tmp_path: Path, index: DataIndex) -> None:
    """And their cache setting does not freeze one crop for ever."""
    source = build(index, tmp_path, center_crop=False)
    assert not source.cached
    draws = [draw(4, crop=(0.1, 0.2)), draw(4, crop=(0.9, 0.2)), draw(0, crop=(0.5, 0.99))]
    got = source.moments(draws)
    for one, moments in zip(draws, got, strict=True):
        torch.testing.assert_close(
            moments[None], direct(index, one, one.crop), rtol=1e-4, atol=1e-5
        )
    assert not torch.equal(got[0], got[1])


@pytest.mark.parametrize("live", [False, True])
def test_a_bad_image_stops_the_start_by_name(tmp_path: Path, live: bool) -> None:
    """Also when images are encoded at each step: else it stops when that row is drawn."""
    root = write_images(tmp_path / "d", [(20, 20)] * 3)
    (root / "1.png").write_bytes(b"no picture")
    data = open_data(str(root))
    for _ in range(2):  # the second time from what is remembered
        with pytest.raises(NotReadyError, match=r"the image 1\.png cannot be used") as caught:
            build(data, tmp_path / "c", cache_latents=not live)
        assert caught.value.exit_code == ExitCode.NOT_READY
        assert "not an image" in caught.value.cause
        assert 'on_bad_image = "skip"' in caught.value.remedy


@pytest.mark.parametrize("live", [False, True])
def test_bad_images_are_skipped_alike_on_every_start(tmp_path: Path, live: bool) -> None:
    """Ranks that disagree on the rows would draw different images for one position."""
    root = write_images(tmp_path / "d", [(20, 20), (20, 20), (20, 20), (20, 20)])
    (root / "1.png").write_bytes((root / "1.png").read_bytes()[:60])
    Image.new("RGB", (1, 700_000)).save(root / "2.png")  # 16 x 11,200,000 px once resized
    data = open_data(str(root))
    for world in (1, 1, 2):
        skipped: list[str] = []
        source = build(
            data, tmp_path / "c", on_bad_image="skip", cache_latents=not live, skipped=skipped,
            world_size=world,
        )  # fmt: skip
        assert list(source.rows) == [0, 3]
        assert skipped == ["1.png", "2.png"]
    torch.testing.assert_close(
        source.moments([draw(3)]), direct(data, draw(3), None), rtol=1e-4, atol=1e-5
    )


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    root = write_images(tmp_path / "d", [(20, 20)])
    (root / "0.png").write_bytes(b"no picture")
    with pytest.raises(NotReadyError, match=r"no image of .* can be used"):
        build(open_data(str(root)), tmp_path / "c", on_bad_image="skip")


class Overflowing:
    """Stands for the SD VAE, whose activations leave fp16's range on some images."""

    def __init__(self, vae: Any, monkeypatch: pytest.MonkeyPatch, *, always: bool = False) -> None:
        encode = vae.encode

        def overflow(pixels: Tensor) -> Any:
            out = encode(pixels)
            if always or pixels.dtype == torch.float16:
                out.latent_dist.parameters[0, 0, 0, 0] = torch.inf
            return out

        monkeypatch.setattr(vae, "encode", overflow)


def test_an_overflow_in_fp16_is_encoded_again_in_fp32(
    tmp_path: Path, index: DataIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One infinite latent makes the loss NaN hours later, with no hint at its origin."""
    vae = tiny_vae()
    Overflowing(vae, monkeypatch)
    got = build(index, tmp_path, vae, dtype=torch.float16).moments([draw(0)])
    assert next(vae.parameters()).dtype == torch.float16
    torch.testing.assert_close(got, direct(index, draw(0), None), rtol=1e-2, atol=1e-2)


def test_a_vae_that_gives_infinity_in_fp32_is_named(
    tmp_path: Path, index: DataIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = tiny_vae()
    Overflowing(vae, monkeypatch, always=True)
    with pytest.raises(SdError, match="AutoencoderKL gives values that are not finite") as caught:
        build(index, tmp_path, vae, dtype=torch.float16)
    assert "0.png" in caught.value.cause


def test_a_batch_that_does_not_fit_is_split(
    tmp_path: Path, index: DataIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that another process uses has less room than the batch was chosen for."""
    vae = tiny_vae()
    encode = vae.encode
    sizes = []

    def small(pixels: Tensor) -> Any:
        sizes.append(len(pixels))
        if len(pixels) > 2:
            raise torch.OutOfMemoryError
        return encode(pixels)

    monkeypatch.setattr(vae, "encode", small)
    got = build(index, tmp_path, vae).moments([draw(i) for i in range(7)])
    assert max(sizes[2:]) <= 2
    for row in range(7):
        torch.testing.assert_close(
            got[row : row + 1], direct(index, draw(row), None), rtol=1e-4, atol=1e-5
        )


def test_bf16_comes_back_as_it_was_encoded(tmp_path: Path, index: DataIndex) -> None:
    got = build(index, tmp_path, dtype=torch.bfloat16).moments([draw(0)])
    assert torch.equal(got, got.to(torch.bfloat16).to(torch.float32))
    torch.testing.assert_close(got, direct(index, draw(0), None), rtol=0.1, atol=0.1)


def test_progress_ends_at_the_total(tmp_path: Path, index: DataIndex) -> None:
    told: list[tuple[int, int]] = []
    build_latents(
        index, TrainSpec(resolution=SIDE, center_crop=True), tiny_vae(), CPU, torch.float32,
        cache_root=tmp_path, rank=0, world_size=1, barrier=lambda: None,
        progress=lambda done, total: told.append((done, total)), on_skip=print,
    )  # fmt: skip
    assert told[-1] == (7, 7)
