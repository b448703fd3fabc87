"""A cache of moments that several sizes share, that is killed, and that is opened again."""

import json
import resource
from pathlib import Path

import pytest
import torch
from PIL import Image

from sdcore.data import BadImageError, DataIndex, decode_image, open_data
from sdcore.errors import NotReadyError
from sdcore.runs.paths import RunDir
from sdcore.train import cache, encoder, report, session
from sdcore.train.images import cut
from sdcore.train.places import Places
from sdcore.train.report import Report
from support.tiny_latents import Counted, build, draw, tiny_vae, write_images


@pytest.fixture
def index(tmp_path: Path) -> DataIndex:
    sizes = [(20, 30), (16, 16), (40, 24), (18, 17), (64, 16), (16, 33), (30, 30)]
    return open_data(str(write_images(tmp_path / "data", sizes)))


def test_a_kill_while_caching_costs_the_last_group_alone(
    tmp_path: Path, index: DataIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group is 16 MB or seconds: of small records, megabytes alone would be 8,000 images."""
    monkeypatch.setattr(cache, "_GROUP_S", 0.0)
    monkeypatch.setattr(encoder, "_MOST", 2)  # images of a pass
    vae = tiny_vae()
    counted = Counted(monkeypatch, vae)

    def dying(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # As SIGKILL: what was not synced by then is not synced at all.
        patch.setattr(cache.PackWriter, "__exit__", lambda self, *error: self._close())
        with pytest.raises(KeyboardInterrupt):
            build(index, tmp_path, vae, progress=dying)
    assert counted.images == 4
    told: list[tuple[int, int]] = []
    build(index, tmp_path, vae, progress=lambda done, total: told.append((done, total)))
    assert counted.images == 7
    assert told[-1] == (3, 3)  # the others are not even opened again


def test_each_size_is_cached_and_framed_by_itself(tmp_path: Path) -> None:
    """A record of one size read as another would be noise; squares are those of before."""
    sizes = [(40, 20), (16, 16), (20, 40), (41, 20), (33, 34)]
    data = open_data(str(write_images(tmp_path / "d", sizes)))
    squares = build(data, tmp_path / "c", random_flip=True)
    buckets = {"enable_bucket": True, "bucket_reso_steps": 8}
    source = build(data, tmp_path / "c", random_flip=True, **buckets)
    assert [source.size(row) for row in source.rows] == [
        (24, 8), (16, 16), (8, 24), (24, 8), (16, 16)
    ]  # fmt: skip
    wide = [draw(3), draw(0, flip=True)]
    for one, moments in zip(wide, source.moments(wide), strict=True):
        image = decode_image(data.read(one.row), "a")
        pixels = cut(image, (24, 8), "lanczos", crop=None, flip=one.flip)
        with torch.no_grad():
            expected = tiny_vae().eval().encode(pixels[None]).latent_dist.parameters
        torch.testing.assert_close(moments[None], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(source.moments([draw(4)]), squares.moments([draw(4)]))
    frame = source.frame(draw(3, flip=True))
    assert (frame.original, frame.resized, frame.corner) == ((41, 20), (24, 11), (0, 2))
    assert source.frame(draw(4)) == squares.frame(draw(4))


def test_caching_tells_its_pace_in_the_stream_and_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An hour of "caching …" and no more is taken for a hang."""
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    told = Report(Places(run, tmp_path, tmp_path, tmp_path, tmp_path, 1), leads=True)
    now = iter(range(0, 10_000, 2))
    monkeypatch.setattr(report.time, "monotonic", lambda: float(next(now)))
    for done in range(0, 2001, 100):  # 50 a second
        told.phase("caching", done, 4000, "images")
    told.phase("caching", 10, 90, "captions")
    paces = [json.loads(line)["per_s"] for line in run.events.read_text().splitlines()]
    assert paces[0] is paces[-1] is None  # another count begins anew
    assert set(paces[1:-1]) == {50.0}
    err = capfd.readouterr().err
    assert "caching: 1,500 of 4,000 images  50 images/s  50s left" in err
    assert err.count("caching: ") == 1


@pytest.mark.parametrize("centred", [True, False])
def test_a_second_start_knows_every_frame_without_opening_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, centred: bool
) -> None:
    """100,000 images on a network disk take an hour to open; EXIF turns some of them."""
    root = write_images(tmp_path / "d", [(40, 24), (20, 30)])
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    Image.open(root / "0.png").save(root / "0.png", exif=exif)
    data = open_data(str(root))
    first = build(data, tmp_path / "c", center_crop=centred)
    monkeypatch.setattr(DataIndex, "read", lambda self, row: pytest.fail(f"row {row} was read"))
    second = build(data, tmp_path / "c", center_crop=centred)
    for one in (draw(0, crop=(0.2, 0.9)), draw(1, crop=(0.2, 0.9))):
        assert second.frame(one) == first.frame(one)
    assert second.frame(draw(0)).original == (24, 40)


def test_an_image_known_to_be_too_small_stops_the_next_start_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not after all the others were encoded, or opened, for an hour."""
    data = open_data(str(write_images(tmp_path / "d", [(10, 10), (20, 30), (31, 33), (40, 24)])))
    vae = tiny_vae()
    counted = Counted(monkeypatch, vae)
    told: list[int] = []

    def refused(**settings: object) -> None:
        with pytest.raises(BadImageError, match="no bucket is that small"):
            build(data, tmp_path / "c", vae, enable_bucket=True, bucket_reso_steps=8,
                  min_bucket_reso=16, progress=lambda done, total: told.append(done),
                  **settings)  # fmt: skip

    refused(center_crop=False)  # not known yet: it is the first that is looked at
    build(data, tmp_path / "c", vae, enable_bucket=True, bucket_reso_steps=8)
    encoded = counted.images
    refused(resolution=24)
    assert (counted.images, told) == (encoded, [])


def test_a_cache_of_more_files_than_may_be_open_says_which_limit_that_is(tmp_path: Path) -> None:
    """With buckets there is a file for each size, process and start: more than 1,024 in all."""
    stores = [tmp_path / str(number) for number in range(40)]
    for folder in stores:
        with cache.RecordStore(folder, 4).writer() as writer:
            writer.put(cache.key_of("a"), b"1234")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, hard)
    )
    try:
        with pytest.raises(NotReadyError) as refused:
            _ = [cache.RecordStore(folder, 4) for folder in stores]
        assert "ulimit -n" in refused.value.remedy
        session._allow_files()
        assert len([cache.RecordStore(folder, 4) for folder in stores]) == 40
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
