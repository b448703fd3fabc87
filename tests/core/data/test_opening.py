"""Opening folders of images: what is read, and what a bad folder is told."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sdcore.data import Few, open_data
from sdcore.errors import ExitCode, NotReadyError


def png(shade: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    out = BytesIO()
    Image.new("RGB", size, (shade, 0, 0)).save(out, "PNG")
    return out.getvalue()


def write_set(root: Path, rows: Sequence[Mapping[str, object]], images: list[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(images):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(i))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (root / "metadata.jsonl").write_text(lines)
    return root


def row(name: str, text: object = "a bird") -> dict[str, object]:
    return {"file_name": name, "text": text}


def refused(root: Path | str, **options: str) -> NotReadyError:
    with pytest.raises(NotReadyError) as caught:
        open_data(str(root), **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == ExitCode.NOT_READY
    return caught.value


def test_rows_keep_the_order_of_the_metadata_and_give_their_images(tmp_path: Path) -> None:
    """Captions that slide by one row against the images train nonsense without any error."""
    root = write_set(tmp_path, [row("b.png", "second"), row("a.png", "first")], ["a.png", "b.png"])
    index = open_data(str(root))
    assert index.form == "imagefolder"
    assert [(r.name, r.captions) for r in index.rows] == [
        ("b.png", ("second",)),
        ("a.png", ("first",)),
    ]
    assert [index.read(i) for i in (0, 1)] == [png(1), png(0)]


def test_several_captions_and_metadata_of_sub_folders(tmp_path: Path) -> None:
    """A path counts from its own metadata file, not from the top."""
    write_set(tmp_path / "x", [row("1.png", ["one", "uno"])], ["1.png"])
    write_set(tmp_path / "y", [row("deep/1.png", ["two"])], ["deep/1.png"])
    index = open_data(str(tmp_path))
    assert [r.name for r in index.rows] == ["x/1.png", "y/deep/1.png"]
    assert index.rows[0].captions == ("one", "uno")


def test_metadata_as_csv_with_commas_and_newlines_in_captions(tmp_path: Path) -> None:
    """Excel writes a byte order mark and quoted newlines; both are legal CSV."""
    (tmp_path / "a.png").write_bytes(png())
    text = '\ufefffile_name,text\r\na.png,"red, big\nbird"\r\n'
    (tmp_path / "metadata.csv").write_text(text, encoding="utf-8", newline="")
    assert open_data(str(tmp_path)).rows[0].captions == ("red, big\nbird",)


def test_metadata_as_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    table = pa.table({"file_name": ["a.png"], "text": [["x", "y"]]})
    pq.write_table(table, tmp_path / "metadata.parquet")
    assert open_data(str(tmp_path)).rows[0].captions == ("x", "y")


def test_text_files_beside_images_are_captions(tmp_path: Path) -> None:
    """Each line is one caption; what has no partner is named, not dropped in silence."""
    for name in ("a.png", "b.jpg", "lonely.png"):
        (tmp_path / name).write_bytes(png())
    (tmp_path / "a.txt").write_text("one\n\n two \n")
    (tmp_path / "b.txt").write_text("\ufeffthree")
    (tmp_path / "orphan.txt").write_text("nobody")
    (tmp_path / "README.txt").write_text("about the set")
    index = open_data(str(tmp_path))
    assert index.form == "captions"
    assert [r.captions for r in index.rows] == [("one", "two"), ("three",)]
    assert index.problems.images_without_row == Few(1, ("lonely.png",))
    assert index.problems.captions_without_image == Few(1, ("orphan.txt",))


def test_images_without_a_row_and_doubles_are_counted_and_named(tmp_path: Path) -> None:
    """The usual loader drops such images without a word."""
    images = [f"{i}.png" for i in range(9)]
    rows = [row("0.png"), row("0.png", ""), row("1.png")]
    problems = open_data(str(write_set(tmp_path, rows, images))).problems
    assert problems.images_without_row == Few(7, ("2.png", "3.png", "4.png", "5.png", "6.png"))
    assert problems.duplicates == Few(1, ("0.png",))
    assert problems.empty_captions == Few(1, ("0.png#2",))


def test_hidden_files_fifos_and_link_loops_do_not_disturb(tmp_path: Path) -> None:
    """Opening a FIFO named like an image would wait for ever."""
    root = write_set(tmp_path, [row("a.png")], ["a.png"])
    os.mkfifo(root / "pipe.png")
    (root / "._a.png").write_bytes(b"macOS")
    (root / "loop").symlink_to(root)
    (root / "itself.png").symlink_to("itself.png")
    index = open_data(str(root))
    assert len(index.rows) == 1
    assert index.problems.images_without_row.count == 0


def test_a_row_without_its_image_is_an_error_with_names_and_lines(tmp_path: Path) -> None:
    """Elsewhere it fails when that row is drawn, hours into the training."""
    rows = [row("a.png"), *(row(f"gone-{i}.png") for i in range(7))]
    error = refused(write_set(tmp_path, rows, ["a.png"]))
    assert "metadata.jsonl names 7 images that are not there" in error.what
    assert "gone-0.png (line 2), gone-1.png (line 3)" in error.cause
    assert "and 2 more" in error.cause


@pytest.mark.parametrize(
    ("written", "there", "hint"),
    [
        ("BIRD.PNG", "bird.png", "write the names in the case the files have: bird.png"),
        ("sub\\bird.png", "sub/bird.png", "write file names with / instead of \\: sub/bird.png"),
        ("bird.png", "bird.jpg", "there is bird.jpg"),
    ],
)
def test_a_near_miss_of_a_file_name_is_pointed_out(
    tmp_path: Path, written: str, there: str, hint: str
) -> None:
    error = refused(write_set(tmp_path, [row(written)], [there]))
    assert hint in error.remedy


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("../secret.png", "leads out of the folder"),
        ("a/../../secret.png", "leads out of the folder"),
        ("/etc/passwd", "leads out of the folder"),
        ("https://example.org/a.png", "is an address"),
        ("", "not the name of a file"),
        (None, "not the name of a file"),
        (7, "not the name of a file"),
    ],
)
def test_a_file_name_never_leads_out_of_its_folder(
    tmp_path: Path, name: object, cause: str
) -> None:
    """A data set from someone else must not make us read or fetch other things."""
    (tmp_path / "secret.png").write_bytes(png())
    root = write_set(tmp_path / "data", [{"file_name": name, "text": "x"}], ["a.png"])
    error = refused(root)
    assert error.what.startswith("line 1 of ")
    assert cause in error.cause


def test_a_broken_json_line_is_named_by_file_and_number(tmp_path: Path) -> None:
    root = write_set(tmp_path, [row("a.png")], ["a.png"])
    with (root / "metadata.jsonl").open("a") as file:
        file.write('\n{"file_name": "b.png", "text": }\n')
    error = refused(root)
    assert error.what.startswith("line 3 of ")
    assert "metadata.jsonl cannot be read" in error.what
    assert '{"file_name": "0001.png"' in error.remedy


@pytest.mark.parametrize("line", ["[1]", "3", "[" * 100_000, "\udcff"])
def test_a_line_that_is_no_object_is_refused(tmp_path: Path, line: str) -> None:
    """A deep nest of brackets must not end in a RecursionError."""
    root = write_set(tmp_path, [], ["a.png"])
    (root / "metadata.jsonl").write_text(line + "\n", errors="surrogateescape")
    assert "line 1 of" in refused(root).what


def test_a_csv_row_with_too_many_values_is_refused(tmp_path: Path) -> None:
    """An unquoted comma would cut the caption in two and drop the rest."""
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,red, big bird\n")
    error = refused(tmp_path)
    assert error.what.startswith("line 2 of ")
    assert "text with a comma needs quotes" in error.cause


def test_a_wrong_caption_column_names_the_columns_and_the_nearest(tmp_path: Path) -> None:
    root = write_set(tmp_path, [{"file_name": "a.png", "texts": "x", "n": 1}], ["a.png"])
    error = refused(root)
    assert "has no column 'text'" in error.what
    assert "texts, n" in error.cause
    assert 'set train.caption_column = "texts"' in error.remedy


def test_a_row_that_lacks_the_column_is_named_by_its_line(tmp_path: Path) -> None:
    rows: list[Mapping[str, object]] = [row("a.png"), {"file_name": "a.png"}]
    assert refused(write_set(tmp_path, rows, ["a.png"])).what.startswith("line 2 of ")


def test_metadata_without_file_name_says_which_key_is_read(tmp_path: Path) -> None:
    root = write_set(tmp_path, [{"image": "a.png", "text": "x"}], ["a.png"])
    error = refused(root)
    assert "'file_name'" in error.cause
    assert "image, text" in error.cause


def test_mixed_strings_and_lists_are_refused_with_both_lines(tmp_path: Path) -> None:
    rows = [row("a.png"), row("a.png"), row("a.png", ["x"])]
    error = refused(write_set(tmp_path, rows, ["a.png"]))
    assert "mix strings and lists" in error.what
    assert "a string in line 1 and a list in line 3" in error.cause


@pytest.mark.parametrize("value", [None, 3, [], ["a", 1], {"en": "a"}])
def test_a_caption_that_is_no_text_is_refused_with_its_line(tmp_path: Path, value: object) -> None:
    error = refused(write_set(tmp_path, [row("a.png"), row("a.png", value)], ["a.png"]))
    assert error.what.startswith("line 2 of ")
    assert "no usable caption" in error.what


def test_no_metadata_says_what_to_write_with_a_real_name(tmp_path: Path) -> None:
    (tmp_path / "bird.png").write_bytes(png())
    error = refused(tmp_path)
    assert "has 1 image but no captions" in error.what
    assert '{"file_name": "bird.png", "text":' in error.remedy


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("metadata.json", "metadata.jsonl"),
        ("Metadata.jsonl", "metadata.jsonl"),
        ("captions.csv", "metadata.csv"),
    ],
)
def test_a_metadata_file_of_a_wrong_name_is_to_be_renamed(
    tmp_path: Path, name: str, better: str
) -> None:
    """The usual loader ignores it and trains on no caption."""
    (tmp_path / "bird.png").write_bytes(png())
    (tmp_path / name).write_text("{}")
    assert f"rename {name} to {better}" in refused(tmp_path).remedy


def test_two_metadata_files_in_one_folder_are_refused(tmp_path: Path) -> None:
    root = write_set(tmp_path, [row("a.png")], ["a.png"])
    (root / "metadata.csv").write_text("file_name,text\na.png,x\n")
    assert "both metadata.csv and metadata.jsonl" in refused(root).cause


def test_a_folder_without_images_says_what_is_in_it(tmp_path: Path) -> None:
    assert "the folder is empty" in refused(tmp_path).cause
    (tmp_path / "data.zip").write_bytes(b"PK")
    error = refused(tmp_path)
    assert "1 x .zip" in error.cause
    assert "unpack the archive" in error.remedy


def test_metadata_without_rows_is_refused(tmp_path: Path) -> None:
    assert "the metadata has no rows" in refused(write_set(tmp_path, [], ["a.png"])).cause


def test_a_missing_folder_and_a_single_picture_are_told_apart(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nowhere").what
    assert "does not exist" in refused("").what  # not this folder
    (tmp_path / "a.png").write_bytes(png())
    assert f"name the folder it is in: {tmp_path}" in refused(tmp_path / "a.png").remedy


def test_the_whole_machine_is_no_data_set() -> None:
    """Whoever types a path begins with ``/``, and listing all there is takes minutes."""
    with pytest.raises(NotReadyError, match="the whole machine"):
        open_data("/")


def test_the_withdrawn_pokemon_set_names_its_replacement() -> None:
    """Half of all guides still name it."""
    error = refused("lambdalabs/pokemon-blip-captions")
    assert "no longer on the hub" in error.what
    assert "local copy" in error.cause
    assert "/mnt/dataset" in error.remedy
    assert "lambdalabs/naruto-blip-captions" in error.remedy


def test_names_from_the_data_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """A caption set from someone else could otherwise write to the clipboard."""
    root = write_set(tmp_path, [row("\x1b]52;c;aGk=\x07gone\x1b[2J.png")], ["a.png"])
    text = str(refused(root))
    assert "\x1b" not in text
    assert "gone.png" in text


def test_an_unreadable_image_names_the_row(tmp_path: Path) -> None:
    index = open_data(str(write_set(tmp_path, [row("a.png")], ["a.png"])))
    (tmp_path / "a.png").unlink()
    for attempt in (index.read, index.stamp):
        with pytest.raises(NotReadyError, match=r"the image a\.png cannot be read") as caught:
            attempt(0)
        assert caught.value.cause == f"{tmp_path}/a.png: No such file or directory"


def test_the_fingerprint_follows_names_sizes_captions_and_order(tmp_path: Path) -> None:
    """A resume on a changed set is refused by it; a moved set must not be."""
    rows = [row("a.png"), row("b.png", "two")]
    prints = [
        open_data(str(write_set(tmp_path / str(i), some, ["a.png", "b.png"]))).fingerprint
        for i, some in enumerate([rows, rows, rows[::-1], [rows[0], row("b.png", "three")]])
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
    (tmp_path / "1" / "a.png").write_bytes(png(1, (9, 90)))
    assert open_data(str(tmp_path / "1")).fingerprint != prints[0]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_captions_come_back_as_written(tmp_path: Path, data: st.DataObject) -> None:
    """Line separators of Unicode, quotes and emoji are text, not structure."""
    texts = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
    root = write_set(tmp_path / "data", [row("a.png", text) for text in texts], ["a.png"])
    assert [r.captions for r in open_data(str(root)).rows] == [(text,) for text in texts]


def test_max_samples_is_a_fixed_choice_and_grows_by_adding(tmp_path: Path) -> None:
    """A resume must train on the same rows; row numbers must still find their images."""
    images = [f"{i:02}.png" for i in range(20)]
    root = write_set(tmp_path, [row(name, name) for name in images], images)
    few = open_data(str(root), max_samples=5, seed=3)
    more = open_data(str(root), max_samples=9, seed=3)
    assert few.rows == open_data(str(root), max_samples=5, seed=3).rows
    assert set(few.rows) < set(more.rows)
    assert few.rows != open_data(str(root), max_samples=5, seed=4).rows
    for i, one in enumerate(few.rows):
        assert few.read(i) == png(images.index(one.name))
    assert open_data(str(root), max_samples=99).fingerprint == open_data(str(root)).fingerprint


def test_threads_read_what_belongs_to_their_row(tmp_path: Path) -> None:
    images = [f"{i:02}.png" for i in range(20)]
    index = open_data(str(write_set(tmp_path, [row(name) for name in images], images)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(index.read, [i % 20 for i in range(200)]))
    assert found == [png(i % 20) for i in range(200)]


def test_opening_a_folder_pays_for_no_large_library(tmp_path: Path) -> None:
    """Torch is 2.4 s and `datasets` 1 s before the first message of a check."""
    root = write_set(tmp_path, [row("a.png")], ["a.png"])
    probe = (
        f"import sys; from sdcore.data import open_data; open_data({str(root)!r});"
        "print({'torch', 'datasets', 'pyarrow', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
