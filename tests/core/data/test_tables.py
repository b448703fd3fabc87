"""Parquet files, saved data sets and the hub."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sdcore.data import open_data, parquet
from sdcore.errors import NotReadyError


def png(shade: int) -> bytes:
    out = BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(out, "PNG")
    return out.getvalue()


def write_parquet(path: Path, start: int, count: int, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png(start + i), "path": f"{i}.png"} for i in range(count)]
    texts = [f"text {start + i}" for i in range(count)]
    table = pa.table({"image": images, "text": texts} | columns)
    pq.write_table(table, path, row_group_size=3)


def test_parquet_rows_run_over_files_and_row_groups(tmp_path: Path) -> None:
    """An error of one at a group's border pairs every later caption with a wrong image."""
    write_parquet(tmp_path / "data" / "part-0.parquet", 0, 7)
    write_parquet(tmp_path / "data" / "part-1.parquet", 7, 4)
    index = open_data(str(tmp_path))
    assert index.form == "parquet"
    assert [r.captions for r in index.rows] == [(f"text {i}",) for i in range(11)]
    assert index.rows[8].name == "data/part-1.parquet#1"
    assert [index.read(i) for i in range(11)] == [png(i) for i in range(11)]
    with ThreadPoolExecutor(8) as pool:
        order = [i * 7 % 11 for i in range(55)]
        assert list(pool.map(index.read, order)) == [png(i) for i in order]


def test_images_as_plain_bytes_in_a_single_file(tmp_path: Path) -> None:
    table = pa.table({"picture": [png(1), png(2)], "caption": [["a", "b"], ["c"]]})
    pq.write_table(table, tmp_path / "x.parquet")
    index = open_data(str(tmp_path / "x.parquet"), image_column="picture", caption_column="caption")
    assert index.read(1) == png(2)
    assert index.rows[0].captions == ("a", "b")


def test_two_image_columns_of_a_row_are_two_images(tmp_path: Path) -> None:
    """With one stamp for both, a training on the second would get the first one's cache."""
    table = {"image": [{"bytes": png(1)}], "depth": [{"bytes": png(2)}], "text": ["a"]}
    pq.write_table(pa.table(table), tmp_path / "x.parquet")
    stamps = {
        open_data(str(tmp_path), image_column=column).stamp(0) for column in ("image", "depth")
    }
    assert len(stamps) == 2


def test_few_row_groups_are_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of 100 GB must not end up in memory by being read once."""
    write_parquet(tmp_path / "x.parquet", 0, 30)
    monkeypatch.setattr(parquet, "KEPT_BYTES", 2000)
    index = open_data(str(tmp_path))
    assert [index.read(i) for i in range(30)] == [png(i) for i in range(30)]
    kept = index._reader._kept  # type: ignore[attr-defined]
    assert sum(column.nbytes for column in kept.values()) <= 2000


def test_other_splits_beside_train_are_left_out_and_named(tmp_path: Path) -> None:
    """A copy of a hub folder holds its test split too; to train on it spoils the test."""
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", 0, 2)
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", 2, 2)
    index = open_data(str(tmp_path))
    assert len(index.rows) == 2
    assert index.problems.other_splits.names == ("data/test-00000-of-00001.parquet",)


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"image": ["a.png"], "text": ["x"]}, ["'image'", "holds no images", "type string"]),
        ({"img": [b"x"], "text": ["x"]}, ["no column 'image'", "img, text", "image_column"]),
        ({"image": [b"x"], "txt": ["x"]}, ["no column 'text'", 'caption_column = "txt"']),
        ({"image": [b"x"], "text": [None]}, ["row 0 of", "no usable caption", "null"]),
        ({"image": pa.array([], pa.binary()), "text": pa.array([], pa.string())}, ["no rows"]),
    ],
)
def test_bad_parquet_columns_are_named(
    tmp_path: Path, columns: dict[str, Any], parts: list[str]
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(NotReadyError) as caught:
        open_data(str(tmp_path))
    for part in parts:
        assert part in str(caught.value)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(NotReadyError, match=r"x\.parquet is not a readable parquet file"):
        open_data(str(tmp_path))


def test_a_row_without_bytes_is_an_error_when_read(tmp_path: Path) -> None:
    image = pa.array([{"bytes": None, "path": "/etc/passwd"}], pa.struct(
        {"bytes": pa.binary(), "path": pa.string()}
    ))  # fmt: skip
    pq.write_table(pa.table({"image": image, "text": ["x"]}), tmp_path / "x.parquet")
    with pytest.raises(NotReadyError, match=r"x\.parquet#0 is not in its parquet file"):
        open_data(str(tmp_path)).read(0)


# The `datasets` library leaves threads and warnings of its own behind: one process for all.
_SAVED = """
import sys, datasets
from io import BytesIO
from PIL import Image
from sdcore.data import open_data
from sdcore.errors import NotReadyError

datasets.disable_progress_bars()
root = sys.argv[1]
pictures = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(5)]
rows = {"image": pictures, "text": [["a", f"b{i}"] for i in range(5)]}
data = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
data.save_to_disk(root + "/plain")
datasets.DatasetDict(train=data, test=data).save_to_disk(root + "/splits")
datasets.DatasetDict(one=data, two=data).save_to_disk(root + "/odd")
data.select([4, 2]).save_to_disk(root + "/picked")

def shade(image):
    return Image.open(BytesIO(image)).getpixel((0, 0))[0]

for name in ("plain", "splits"):
    index = open_data(f"{root}/{name}")
    assert index.form == "saved dataset" and index.rows[3].captions == ("a", "b3")
    assert [shade(index.read(i)) for i in range(5)] == [0, 1, 2, 3, 4]
    assert index.stamp(1) != index.stamp(2)
picked = open_data(f"{root}/picked")
assert [shade(picked.read(i)) for i in range(2)] == [4, 2]
for source, wanted in (
    ("odd", "its splits are: one, two"),
    ("plain", "no column 'caption'"),
):
    try:
        open_data(f"{root}/{source}", caption_column="caption" if source == "plain" else "text")
    except NotReadyError as error:
        assert wanted in str(error), error
    else:
        raise AssertionError(source)
try:
    open_data("somebody/some-captions", cache_dir=root + "/cache")
except NotReadyError as error:
    assert "somebody/some-captions cannot be loaded" in error.what, error
    assert "copy the data here" in error.remedy, error
else:
    raise AssertionError("hub")
assert "torch" not in sys.modules
print("held")
"""


def test_saved_data_sets_and_a_hub_without_network(tmp_path: Path) -> None:
    """Without a network the hub client alone would retry for 24 s; here it is said at once."""
    environ = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", _SAVED, str(tmp_path)],
        capture_output=True, text=True, check=False, env=environ, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "held", done.stderr


def test_a_damaged_saved_data_set_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(NotReadyError, match="cannot be opened as a saved data set"):
        open_data(str(tmp_path))
